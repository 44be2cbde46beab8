"""PTST: tune without a safety prompt, answer with one ("pure tuning, safe testing").

Source: Lyu et al., NeurIPS 2024 (arXiv 2402.18540). The prompt's wording is ours.
"""

from securetune.defences.base.interface import PROMPT, Defence, Settings


class SafetyPrompt(Settings):
    """Settings of PTST."""

    prompt: str = "Be helpful. Decline, politely, every request that could cause harm to anyone."
    """System prompt for the tuned model."""


class Ptst(Defence):
    """A safety prompt at inference only."""

    title, paper = "PTST", "arXiv 2402.18540"
    decides = (PROMPT,)
    Settings = SafetyPrompt

    def inference_prompt(self) -> str:
        """The safety prompt."""
        prompt: str = self.settings.prompt
        return prompt


defence = Ptst
