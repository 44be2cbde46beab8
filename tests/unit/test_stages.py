"""Stages: every one of the order has its file."""

from securetune.base.artifacts import STAGES
from securetune.flow.stages import STAGE_FILES


def test_every_stage_of_the_order_has_its_file_and_its_help():
    assert set(STAGE_FILES.names()) == set(STAGES)
    assert all(STAGE_FILES.summary(stage).endswith(".") for stage in STAGES)
