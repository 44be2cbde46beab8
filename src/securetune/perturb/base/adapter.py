"""Adapter: which change of each module's weight does a saved LoRA adapter stand for?

Source: Hu et al. 2021, arXiv 2106.09685, section 4.1: the change is B A times alpha / r.
"""

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from securetune.errors import ScanError


class AdapterChange:
    """The changes of an adapter that PEFT has saved in a folder, with one rank and one alpha for all modules."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        self._factors = load_file(folder / "adapter_model.safetensors")
        self._scaling = config["lora_alpha"] / config["r"]
        self._is_transposed = config["fan_in_fan_out"]

    def __call__(self, path: str) -> Tensor:
        """Change of the weight of the module at `path`, in its shape, float32 on the CPU.

        Raises:
            ScanError: the adapter has nothing for this module.
        """
        prefix = f"base_model.model.{path}"
        if f"{prefix}.lora_A.weight" not in self._factors:
            raise ScanError(
                f"Expected a LoRA adapter on the module {path}, found none: what LoRA changes of stacked experts is "
                "not read here. Use another scan.perturbation, such as lowrank."
            )
        a, b = (self._factors[f"{prefix}.lora_{side}.weight"].float() for side in "AB")
        delta = (b @ a) * self._scaling
        return delta.T if self._is_transposed else delta
