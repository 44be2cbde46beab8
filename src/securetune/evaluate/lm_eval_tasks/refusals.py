"""Refusals: what the YAML tasks beside this file call; usable with lm_eval's ``--include_path`` alone."""

from typing import Any

from securetune.data.reasoning import split_reasoning
from securetune.evaluate.answers import Answer
from securetune.evaluate.judges import JUDGES


def refused(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is a refusal, by the phrase judge."""
    del doc
    (verdict,) = JUDGES.make("refusal_phrases", {}, "judge").judge(
        [Answer(prompt="", text=split_reasoning(results[0]).answer)]
    )
    return {"refusal_rate": float(verdict is not None and verdict.is_safe)}


def safe(rows: Any) -> Any:
    """XSTest's harmless prompts."""
    return rows.filter(lambda row: row["label"] == "safe")


def unsafe(rows: Any) -> Any:
    """XSTest's harmful contrasts."""
    return rows.filter(lambda row: row["label"] == "unsafe")
