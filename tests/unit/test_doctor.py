"""Does the doctor tell what is there, what is missing, and what to type?"""

import json
import shutil

import pytest
from packaging.requirements import Requirement

from securetune.doors import doctor
from securetune.doors.doctor import GIB, Weights, fits


def asked(*texts):
    return [Requirement(text) for text in texts]


def unfit(findings):
    return [finding.text for finding in findings if not finding.is_fit]


def test_what_is_there_is_told_with_its_version():
    findings = doctor.packages(asked("torch>=2", "numpy>=1"))
    assert [finding.about for finding in findings] == ["securetune", "torch", "others"]
    assert not unfit(findings)
    assert findings[2].text.startswith("1 packages are there")


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_what_is_too_old_or_missing_is_told_with_the_pip_line(name):
    (old,) = unfit(doctor.packages(asked(f"{name}>=999")))
    assert old.startswith(f"Expected {name}>=999, found ") and old.endswith(f"pip install '{name}>=999'")
    (missing,) = unfit(doctor.packages(asked("no-such-package>=1")))
    assert "found none" in missing and "pip install 'no-such-package>=1'" in missing


def test_files_that_were_never_installed_are_told():
    assert "found its files alone" in unfit(doctor.packages([]))[0]


def test_an_extra_is_told_with_what_it_gives_and_is_never_needed():
    texts = {f.about: f for f in doctor.extras(asked("numpy>=1; extra == 'vllm'", "absent>=2; extra == 'lm-eval'"))}
    assert "faster on a GPU" in texts["[vllm]"].text
    assert texts["[lm-eval]"].text.startswith("not there") and "pip install 'absent>=2'" in texts["[lm-eval]"].text
    assert all(finding.is_fit for finding in texts.values())
    assert not unfit(doctor.packages(asked("numpy>=1", "absent>=2; extra == 'lm-eval'")))


def test_every_extra_for_users_says_what_it_gives():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"docs", "test", "dev"}


def test_a_model_is_counted_by_its_files(model_folder, tmp_path):
    from transformers import AutoModelForCausalLM

    counted = doctor.weights(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    assert counted.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert counted.size == sum(file.stat().st_size for file in model_folder.glob("*.safetensors"))
    assert doctor.weights(tmp_path) is None


def test_a_model_that_has_no_room_is_told():
    model = Weights(parameters=10**9, size=2 * 10**9)
    assert not fits(model, GIB, "this machine").is_fit
    tight = fits(model, 4 * GIB, "this machine")
    assert tight.is_fit and "too little for all weights: take LoRA" in tight.text
    assert "too little" not in fits(model, 40 * GIB, "this machine").text
    assert fits(model, None, "this machine").is_fit
    assert "The first GPU has 40.0 GiB" in fits(model, 40 * GIB, "the first GPU").text


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "_CONTAINER_LIMIT", limit)
    whole = doctor.memory_size()
    limit.write_text("max\n")
    assert doctor.memory_size() == whole
    limit.write_text("1048576\n")
    assert doctor.memory_size() == 1048576


@pytest.fixture
def complete(monkeypatch):
    monkeypatch.setattr(doctor, "requirements", lambda: asked("torch>=2", "packaging>=1"))


def test_a_good_model_ends_with_0(complete, model_folder, monkeypatch, capsys):
    assert run_doctor(monkeypatch, capsys, model_folder) == (0, "")
    assert "LlamaForCausalLM" in run_doctor.out and "2 layers, 14 modules: q, k, v, o" in run_doctor.out
    assert "template       there" in run_doctor.out and "million parameters" in run_doctor.out


def run_doctor(monkeypatch, capsys, *words):
    import sys

    from securetune.cli import entry

    monkeypatch.setattr(sys, "argv", ["securetune", "doctor", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        entry()
    read = capsys.readouterr()
    run_doctor.out = read.out
    return ended.value.code or 0, read.err


def test_a_model_that_cannot_be_used_ends_with_2(complete, model_folder, tmp_path, monkeypatch, capsys):
    assert run_doctor(monkeypatch, capsys, tmp_path / "absent")[0] == 2
    assert "found nothing there" in run_doctor.out and "device" not in run_doctor.out, "answered before torch is loaded"
    bare = tmp_path / "bare"
    shutil.copytree(model_folder, bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))
    assert run_doctor(monkeypatch, capsys, bare)[0] == 2
    assert "Expected a chat template" in run_doctor.out and "LlamaForCausalLM" in run_doctor.out


def test_a_missing_package_ends_with_2_before_torch_is_asked(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "requirements", lambda: asked("torch>=999"))
    assert run_doctor(monkeypatch, capsys)[0] == 2
    assert "pip install 'torch>=999'" in run_doctor.out and "device" not in run_doctor.out


def test_libraries_that_do_not_load_are_told(complete, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "securetune.doors.doctored", None)
    monkeypatch.delattr("securetune.doors.doctored", raising=False)
    assert run_doctor(monkeypatch, capsys)[0] == 2
    assert "Expected torch and transformers to load, found: " in run_doctor.out
