"""Session: what a run's configuration comes to."""

from securetune.base.artifacts import RunFolder
from securetune.config import parse_config
from securetune.flow.session import Session
from tests.conftest import settings


def test_the_seed_of_a_run_reaches_its_scan_unless_the_scan_has_its_own(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path) | {"seed": 3}
    for scan, seed in (({}, 3), ({"seed": 0}, 0)):
        config = parse_config(raw | {"scan": raw["scan"] | scan}, "test")
        assert Session(config, RunFolder(tmp_path)).scan_config.seed == seed
