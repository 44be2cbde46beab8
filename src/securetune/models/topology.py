"""Topology: which modules does a decoder have, by layer and role?

Pure data, no torch: `models/reading.py` fills it from a real model. Roles are the projections q k v o gate up down,
their fused forms qkv and gate_up, the low-rank pairs q_a q_b and kv_a kv_b (DeepSeek), and the same with the prefix
``expert_`` for stacked expert parameters.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from securetune.base.artifacts import digest
from securetune.errors import TopologyError

ROLES = (
    "q", "k", "v", "qkv", "q_a", "q_b", "kv_a", "kv_b", "o", "gate", "up", "gate_up", "down", "expert_gate_up",
    "expert_down",
)  # fmt: skip

_EXPERT = "expert_"

# Prefixes that wrappers put into parameter names; paths and plans never mention them.
_WRAPPERS = re.compile(
    r"(?:_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module|base_layer|original_module|token_adapter"
    r"|modules_to_save\.[^.]+)\.|^module\."
)


@dataclass(frozen=True, order=True)
class ModuleRef:
    """One module, written ``layer.role``: ``3.q``."""

    layer: int
    role: str

    @property
    def is_expert(self) -> bool:
        """Whether it is a stacked tensor of experts, a parameter of its own and no module."""
        return self.role.startswith(_EXPERT)

    def __str__(self) -> str:
        return f"{self.layer}.{self.role}"

    @classmethod
    def parse(cls, text: str) -> "ModuleRef":
        """Inverse of `str`.

        Raises:
            TopologyError: the text is not ``layer.role``.
        """
        match = re.fullmatch(r"(\d+)\.(\w+)", text)
        if match is None or match[2] not in ROLES:
            raise TopologyError(f"Expected a module as layer.role with a role of {ROLES}, found {text!r}.")
        return cls(int(match[1]), match[2])


@dataclass(frozen=True)
class ModuleSet:
    """An unordered set of modules; iterates in layer order."""

    members: frozenset[ModuleRef] = frozenset()

    @classmethod
    def of(cls, refs: Iterable[ModuleRef]) -> "ModuleSet":
        """Build from any iterable of references."""
        return cls(frozenset(refs))

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "ModuleSet":
        """Build from ``layer.role`` texts."""
        return cls.of(ModuleRef.parse(text) for text in texts)

    def __iter__(self) -> Iterator[ModuleRef]:
        return iter(sorted(self.members))

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, ref: object) -> bool:
        return ref in self.members

    def __or__(self, other: "ModuleSet") -> "ModuleSet":
        return ModuleSet(self.members | other.members)

    def __sub__(self, other: "ModuleSet") -> "ModuleSet":
        return ModuleSet(self.members - other.members)

    def names(self) -> list[str]:
        """The members as ``layer.role`` texts in layer order."""
        return [str(ref) for ref in self]


@dataclass(frozen=True, kw_only=True)
class ModuleInfo:
    """Where a module sits in the model."""

    path: str
    """Dotted path of the module, for example ``model.layers.0.self_attn.q_proj``."""
    weight: str
    """Dotted name of the weight that a perturbation changes."""
    shape: tuple[int, ...]
    """Shape of that weight: [out, in], or [experts, out, in] for stacked experts."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Every perturbable module of a decoder."""

    model_type: str
    layers: int
    hidden_size: int
    modules: dict[ModuleRef, ModuleInfo]

    @property
    def all(self) -> ModuleSet:
        """Every module as a set."""
        return ModuleSet.of(self.modules)

    @property
    def roles(self) -> list[str]:
        """The roles that occur, in the order of `ROLES`."""
        present = {ref.role for ref in self.modules}
        return [role for role in ROLES if role in present]

    def fingerprint(self) -> str:
        """Hash of family, depth, width and every module's path and shape; equal for models a plan fits alike."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, object]:
        """Plain data for an artifact."""
        return {
            "model_type": self.model_type,
            "layers": self.layers,
            "hidden_size": self.hidden_size,
            "modules": {
                str(ref): {"path": info.path, "weight": info.weight, "shape": list(info.shape)}
                for ref, info in sorted(self.modules.items())
            },
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Topology":  # type: ignore[type-arg]
        """Inverse of `to_dict`."""
        return cls(
            model_type=data["model_type"],
            layers=data["layers"],
            hidden_size=data["hidden_size"],
            modules={
                ModuleRef.parse(ref): ModuleInfo(path=m["path"], weight=m["weight"], shape=tuple(m["shape"]))
                for ref, m in data["modules"].items()
            },
        )


def clean_name(parameter: str) -> str:
    """A parameter's name without what FSDP, torch.compile, DDP or PEFT put into it."""
    return _WRAPPERS.sub("", parameter).removeprefix("base_model.model.")
