"""What stands in a log after a command ran through a pipe?"""

import os
import pty
import subprocess
import sys

import pytest
import yaml

from securetune.base.artifacts import STAGES
from tests.conftest import settings


@pytest.fixture
def words(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path / "run") | {"arms": ["ml_lr"]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(raw))
    return [sys.executable, "-m", "securetune", "train", str(tmp_path / "run.yaml"), "-s", "train.adapter=full"]


@pytest.mark.parametrize("colours", [{}, {"FORCE_COLOR": "1"}], ids=["plain", "colours"])
def test_a_pipe_gets_a_line_for_each_stage_and_no_bar(words, colours):
    env = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"} | colours
    done = subprocess.run(words, capture_output=True, env=env)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, err
    assert "\r" not in out + err
    assert "\x1b" not in err and (colours or "\x1b" not in out)
    assert "\n\n" not in out, "a bar that is not shown leaves no line behind"
    stages = [*STAGES[: STAGES.index("plan")], "plan ml_lr", "train none", "train ml_lr"]
    assert [line[:24].strip() for line in err.splitlines()] == stages


def test_a_terminal_gets_bars(words):
    ours, its = pty.openpty()
    read = b""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=its, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(its)
        try:
            while part := os.read(ours, 4096):
                read += part
        except OSError:  # the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"Tune 07-train-none" in read and b"\r" in read
