"""Plan: which parameters learn how fast, and when?

A plan is a JSON file of ordered entries; the first pattern found in a parameter's name decides.
Phases override the entries for the first part of training (SWAT's warm-up). No torch here.
Source: ML-LR, Du et al. 2024, arXiv 2410.04524 v1 (a far smaller rate outside Mods_Robust); SWAT, v2 (warm-up of
Mods_Robust first). Neither paper's rates are public: the defaults are ours.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from securetune.base.artifacts import Artifact, write_atomic
from securetune.base.patterns import Regex, is_found
from securetune.base.strict import Strict
from securetune.base.texts import parse_json, read_text
from securetune.base.typed import from_json
from securetune.errors import PlanError
from securetune.models.topology import ModuleSet, Topology, clean_name

EVERYTHING = ".*"


class Entry(Strict):
    """Multipliers for the parameters a pattern finds."""

    pattern: Regex
    """Regular expression for `re.search` on a weight's name; the first entry that matches wins.

    What wraps a weight goes with it: an adapter is found by the name of the weight, or by its own."""
    lr_mult: float = Field(default=1.0, ge=0)
    """Factor on the trainer's learning rate; 0 freezes."""
    wd_mult: float = Field(default=1.0, ge=0)
    """Factor on the trainer's weight decay."""


class Phase(Strict):
    """Entries in force up to a fraction of the training steps."""

    until: float = Field(gt=0, lt=1)
    """Fraction of all optimizer steps at which the phase ends."""
    entries: tuple[Entry, ...]


class PlanModel(Strict):
    """The model a plan was made for."""

    id: str
    revision: str | None = None
    fingerprint: str | None = None
    """`Topology.fingerprint()`; None in a hand-written plan, which is then not checked."""
    tokenizer: str | None = None
    """Hash of vocabulary and chat template."""


class Plan(Strict):
    """Per-parameter multipliers, with where they came from."""

    schema_version: int = 1
    method: str
    model: PlanModel
    entries: tuple[Entry, ...]
    phases: tuple[Phase, ...] = ()
    robust: tuple[str, ...] = ()
    """Modules ``layer.role`` of the robust set, for reading and export."""
    scores: dict[str, float] = {}
    """Sensitivity of each module in the signal the search used."""
    signal: str | None = None
    notes: tuple[str, ...] = ()
    """What to know before relying on the choice of modules."""
    seed: int = 0
    versions: dict[str, str] = {}

    @field_validator("phases")
    @classmethod
    def _ascending(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        ends = [phase.until for phase in phases]
        if ends != sorted(set(ends)):
            raise ValueError(f"phases must end at ascending fractions, found {ends}")
        return phases

    @property
    def stages(self) -> list[tuple[Entry, ...]]:
        """The entries of every phase in order, the final ones last."""
        return [*(phase.entries for phase in self.phases), self.entries]

    def stage_at(self, step: int, total: int) -> int:
        """Index into `stages` of the stage that rules optimizer step `step` (from 0) out of `total`."""
        return sum(step >= round(phase.until * total) for phase in self.phases)

    def lr_scale(self, *names: str) -> tuple[float, ...]:
        """The learning-rate multiplier of a parameter in every stage; 1 where no entry matches.

        A parameter may have several names, such as an adapter's own and that of the weight it wraps (see
        `securetune.models.adapters`): the first entry that finds any of them wins.
        """
        return tuple(entry.lr_mult if (entry := _first(stage, names)) else 1.0 for stage in self.stages)

    def wd_scale(self, *names: str) -> float:
        """The weight-decay multiplier of a parameter, taken from the final entries."""
        entry = _first(self.entries, names)
        return entry.wd_mult if entry else 1.0

    def is_frozen(self, *names: str) -> bool:
        """Whether the parameter is never trained."""
        return not any(self.lr_scale(*names))

    def check_patterns(self, parameters: Iterable[str]) -> None:
        """Make sure that every pattern finds a parameter.

        Raises:
            PlanError: a pattern matches nothing; the message shows some names that exist.
        """
        names = [clean_name(name) for name in parameters]
        for stage in self.stages:
            for entry in stage:
                if not any(is_found(entry.pattern, name) for name in names):
                    raise PlanError(
                        f"Expected plan pattern {entry.pattern!r} to match a parameter, found none among "
                        f"{len(names)}, such as {names[:3]}. Correct the pattern or make a new plan for this model."
                    )

    def check_model(self, fingerprint: str) -> None:
        """Make sure that the plan was made for a model of this shape.

        Raises:
            PlanError: the fingerprints differ.
        """
        if self.model.fingerprint not in (None, fingerprint):
            raise PlanError(
                f"Expected the model this plan was made for ({self.model.id!r}, topology {self.model.fingerprint}), "
                f"found another one (topology {fingerprint}). Make a plan for this model with `securetune plan`."
            )

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, atomically."""
        write_atomic(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read a plan written by `save` or by hand, or the plan artifact of a run (``06-plan-ml_lr.json``).

        Raises:
            PlanError: no such file, or not a plan.
        """
        raw = parse_json(read_text(path, "a plan file", PlanError), str(path), PlanError)
        is_artifact = isinstance(raw, dict) and raw.get("stage") == "plan"
        try:
            plan = cls.model_validate(raw.get("data") if is_artifact else raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise PlanError(
                f"Expected a plan in {path}, found a problem at {where}: {first['msg']}. Correct it."
            ) from error
        if is_artifact and not from_json(Artifact, raw, str(path)).is_sealed:
            raise PlanError(
                f"Expected the plan artifact {path} as securetune wrote it, found that it was changed. Put the "
                "original back, or write a plan of your own: what stands below `data`, in a file of its own."
            )
        return plan


def _first(entries: Iterable[Entry], names: Iterable[str]) -> Entry | None:
    cleaned = [clean_name(name) for name in names]
    return next((entry for entry in entries if any(is_found(entry.pattern, name) for name in cleaned)), None)


def module_entries(modules: ModuleSet, topology: Topology, *, lr_mult: float) -> tuple[Entry, ...]:
    """Entries that match exactly the parameters of `modules`, one per role.

    Where they freeze all experts of a layer they freeze what routes tokens to them too: another route is another layer.
    """
    # A stacked expert tensor is a parameter of its own; a projection owns everything below its path.
    owners = [(ref.layer, topology.modules[ref].path) for ref in modules if not ref.is_expert]
    tensors = [(ref.layer, topology.modules[ref].weight) for ref in modules if ref.is_expert]
    patterns = [f"{p}\\." for p in over_layers(owners)] + [f"{p}(_bias)?(\\.|$)" for p in over_layers(tensors)]
    if lr_mult == 0:
        patterns += [f"{p}({_ROUTERS})$" for p in over_layers(_moe_layers(modules, topology))]
    return tuple(Entry(pattern=f"(^|\\.){pattern}", lr_mult=lr_mult) for pattern in patterns)


_ROUTERS = r"(mlp|feed_forward)\.(gate|router)\..+"


def _moe_layers(modules: ModuleSet, topology: Topology) -> Iterator[tuple[int, str]]:
    """Layers of which all experts are among the modules, each with the path that its parameters begin with."""
    experts = [ref for ref in topology.all if ref.is_expert]
    for layer in sorted({ref.layer for ref in experts} - {ref.layer for ref in experts if ref not in modules}):
        weight = next(topology.modules[ref].weight for ref in experts if ref.layer == layer)
        yield layer, f"{weight.partition(f'.{layer}.')[0]}.{layer}."


def over_layers(paths: Iterable[tuple[int, str]]) -> list[str]:
    """Regular expressions that match exactly these paths, given with their layer; one for all layers of a role."""
    layers: dict[tuple[str, str], list[int]] = {}
    for layer, path in paths:
        before, _, after = path.partition(f".{layer}.")
        layers.setdefault((before, after), []).append(layer)
    return [
        f"{re.escape(before)}\\.({'|'.join(map(str, numbers))})\\.{re.escape(after)}"
        for (before, after), numbers in layers.items()
    ]


def rest(lr_mult: float) -> Entry:
    """The closing entry for every parameter not named before it."""
    return Entry(pattern=EVERYTHING, lr_mult=lr_mult)


def plan_of(
    method: str,
    model: PlanModel,
    topology: Topology,
    robust: ModuleSet,
    *,
    rest_lr_mult: float,
    scores: Mapping[str, float] | None = None,
    **provenance: Any,
) -> Plan:
    """A plan with the normal rate on `robust` and `rest_lr_mult` times it on everything else."""
    return Plan(
        method=method,
        model=model,
        entries=(*module_entries(robust, topology, lr_mult=1.0), rest(rest_lr_mult)),
        robust=tuple(robust.names()),
        scores=dict(scores or {}),
        **provenance,
    )
