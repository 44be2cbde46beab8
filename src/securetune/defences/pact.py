"""PACT-style: hold the model's confidence in its safety tokens where it was before tuning.

Source: arXiv 2603.07445: KL to the aligned model on the tokens with the largest probability gap between the aligned and
the unaligned model. How candidates are drawn and gaps are averaged follows its description, not its code. All other
tokens count as one, so that the two distributions stay distributions.
Shapes: n answer tokens, v vocabulary, s safety tokens.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, REFERENCE, SAFETY_ROWS, UNALIGNED
from securetune.defences.base.run import TrainingRun
from securetune.models.tensors import divergence


class SafetyTokens(Settings):
    """Settings of PACT."""

    tokens: int = Field(default=50, ge=1)
    """Number of safety tokens."""
    candidates: int = Field(default=512, ge=1)
    """Tokens that are looked at: the aligned model's most probable ones."""
    positions: int = Field(default=64, ge=1)
    """Answer tokens of each safety row that are looked at."""
    rows: int = Field(default=64, ge=1)
    """Safety rows that are looked at."""
    temperature: float = Field(default=2.0, gt=0)
    """Temperature of both distributions."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of the divergence."""


class Pact(Defence):
    """KL on safety tokens only."""

    title, paper = "PACT-style", "arXiv 2603.07445"
    needs = (REFERENCE, SAFETY_ROWS, UNALIGNED, EXTRA_PASSES)
    cost = "two more forward passes; once, the unaligned model on some rows"
    Settings = SafetyTokens

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.tokens: Tensor

    def begin(self, run: TrainingRun) -> None:
        """Find the safety tokens."""
        settings, load = self.settings, run.resources.unaligned
        assert load is not None
        batch = TokenBatch(run=run, inputs=run.batch(run.resources.safety_rows[: settings.rows]))
        early = batch.positions < settings.positions
        aligned = batch.reference_logits[early].softmax(-1).mean(0)
        unaligned = batch.logits_of(load().to(aligned.device))[early].softmax(-1).mean(0)
        candidates = aligned.topk(min(settings.candidates, len(aligned))).indices
        gaps = (aligned - unaligned)[candidates]
        self.tokens = candidates[gaps.topk(min(settings.tokens, len(gaps))).indices]

    def loss(self, batch: TokenBatch) -> Tensor:
        """The divergence on the safety tokens and on the rest as one."""
        temperature = self.settings.temperature
        before, now = (coarse(logits / temperature, self.tokens) for logits in (batch.reference_logits, batch.logits))
        return self.settings.weight * temperature**2 * divergence(before, now).mean()


def coarse(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities [n, s + 1] of the tokens and of all others together."""
    log_probs = logits.log_softmax(-1)
    chosen = log_probs[:, tokens]
    rest = torch.log1p(-chosen.exp().sum(-1, keepdim=True).clamp(max=1 - 1e-6))
    return torch.cat([chosen, rest], dim=-1)


defence = Pact
