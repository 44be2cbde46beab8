"""Made: what the stages so far have left, read back as what it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from securetune.base.artifacts import Artifact, RunFolder
from securetune.base.typed import from_json
from securetune.evaluate.result import Evaluation
from securetune.models.openings import Openings
from securetune.models.topology import Topology
from securetune.plans.plan import Plan
from securetune.scan.findings import ProbeFindings
from securetune.scan.result import ScanResult
from securetune.search.base.result import SearchResult
from securetune.train.result import TrainedArm


@dataclass(frozen=True)
class Made:
    """The artifacts of a run, by stage and arm."""

    _artifacts: dict[tuple[str, str | None], Artifact] = field(default_factory=dict)

    @classmethod
    def stored(cls, folder: RunFolder, stages: Sequence[str]) -> "Made":
        """What a finished run has left of some stages that have no arms."""
        made = cls()
        for stage in stages:
            made.add(folder.needed(stage))
        return made

    def add(self, artifact: Artifact) -> None:
        """Take in what a stage has left."""
        self._artifacts[artifact.stage, artifact.variant] = artifact

    def artifact(self, stage: str, arm: str | None = None) -> Artifact:
        """What a stage before has left, in its stored form."""
        return self._artifacts[stage, arm]

    def digest(self, stage: str, arm: str | None = None) -> str:
        """Hash of a stage's result."""
        return self.artifact(stage, arm).digest

    def has(self, stage: str, arm: str | None = None) -> bool:
        """Whether there is a result."""
        return (stage, arm) in self._artifacts

    @property
    def all(self) -> list[Artifact]:
        """Every artifact in the order in which they were made."""
        return list(self._artifacts.values())

    @cached_property
    def topology(self) -> Topology:
        """Layers and roles of the model."""
        return Topology.from_dict(self.artifact("topology").data)

    @cached_property
    def openings(self) -> Openings:
        """First tokens with which the model refuses and complies."""
        return from_json(Openings, self.artifact("features").data["openings"], "features")

    @cached_property
    def probe(self) -> ProbeFindings:
        """The probe and its tests."""
        return from_json(ProbeFindings, self.artifact("probe").data, "probe")

    @cached_property
    def scan(self) -> ScanResult:
        """Drop of every module."""
        return ScanResult.from_dict(self.artifact("scan").data)

    @cached_property
    def search(self) -> SearchResult:
        """The robust set."""
        return from_json(SearchResult, self.artifact("search").data, "search")

    def plan(self, arm: str) -> Plan | None:
        """The plan of an arm; None where no defence of it decides the learning rates."""
        return Plan.model_validate(self.artifact("plan", arm).data) if self.has("plan", arm) else None

    def trained(self, arm: str) -> TrainedArm:
        """What training an arm came to."""
        return from_json(TrainedArm, self.artifact("train", arm).data, f"train {arm}")

    def evaluated(self, arm: str) -> Evaluation:
        """What an arm's model does, in numbers."""
        return from_json(Evaluation, self.artifact("evaluate", arm).data, f"evaluate {arm}")
