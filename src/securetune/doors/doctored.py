"""Doctored: which devices does torch find, and can this model be loaded, asked and scanned? No weight is read."""

import os

import torch

from securetune.base.places import expanded
from securetune.doors.doctor import Finding, Weights, fits, in_gib, memory_size, weights
from securetune.errors import SecuretuneError
from securetune.models.config import ModelConfig
from securetune.models.libraries import quiet_libraries
from securetune.models.loading import load_skeleton, load_tokenizer
from securetune.models.reading import read_topology


def devices() -> list[Finding]:
    """Every GPU with its memory; without one, the CPU."""
    findings = []
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
        findings.append(Finding(about="device", text=f"{card.name}, {in_gib(card.total_memory)}, {bf16} bfloat16"))
    if not findings and torch.backends.mps.is_available():
        findings.append(Finding(about="device", text="Apple GPU (mps)"))
    return findings or [
        Finding(
            about="device", text=f"no GPU; the CPU with {torch.get_num_threads()} threads, which suits small models"
        )
    ]


def of_model(path: str) -> list[Finding]:
    """What would be wrong with a model, as far as its files, its configuration and its tokenizer tell."""
    quiet_libraries()
    config, findings = ModelConfig(path=path), []
    try:
        skeleton = load_skeleton(config)
        findings.append(Finding(about="architecture", text=type(skeleton).__name__))
        findings.append(_size(path, skeleton))
        topology = read_topology(skeleton)
        text = f"{topology.layers} layers, {len(topology.modules)} modules: {', '.join(topology.roles)}"
        findings.append(Finding(about="topology", text=text))
    except SecuretuneError as error:
        findings.append(Finding(about="model", text=str(error), is_fit=False))
    try:
        load_tokenizer(config)
        findings.append(Finding(about="template", text="there"))
    except SecuretuneError as error:
        findings.append(Finding(about="template", text=str(error), is_fit=False))
    return findings


def _size(path: str, skeleton: torch.nn.Module) -> Finding:
    folder = expanded(path)
    stored = weights(folder) if os.path.isdir(folder) else None
    if stored is None:
        parameters = sum(parameter.numel() for parameter in skeleton.parameters())
        stored = Weights(parameters=parameters, size=2 * parameters)  # as most models are saved, in 16 bits
    if torch.cuda.is_available():
        return fits(stored, torch.cuda.get_device_properties(0).total_memory, "the first GPU")
    return fits(stored, memory_size(), "this machine")
