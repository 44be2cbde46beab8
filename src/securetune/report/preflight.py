"""Preflight: what was found before any work, in one line for each thing that was looked at."""

from dataclasses import dataclass

from securetune.data.rendering import RowsFound
from securetune.evaluate.preflight import AnswersFound, Preflight
from securetune.measures.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that was looked at."""

    what: str
    found: str


_TIME = {"none": "no time", "day": "today's date", "moment": "another text every moment"}
"""What of the time a template writes, in words."""


def preflight_lines(found: Preflight) -> list[Line]:
    """Rows, prompts, the template and the answers."""
    template, untuned = found.template, found.untuned
    begins = "reasoning comes first" if template.thinking else "no reasoning"
    sides = (("malicious", untuned.malicious), ("benign", untuned.benign))
    answers = [answer for _, answer in sides]
    thinking = sum(round(answer.thinking.value * answer.n) for answer in answers)
    return [
        *(Line(what=f"rows of {rows.source}", found=_rows(rows, found.max_length)) for rows in found.rows),
        *(
            Line(
                what=f"prompts of {prompts.name}",
                found=f"{prompts.used:,}, {prompts.duplicated:,} duplicated; longest {prompts.longest:,} tokens",
            )
            for prompts in found.prompts
        ),
        Line(
            what="chat template",
            found=f"system turn {template.system}; two user turns in a row {template.two_user_turns}; answers end "
            f"with {template.end or 'no token'}; {begins}; earlier answers {template.earlier_answers}; "
            f"{_TIME[template.clock]}",
        ),
        *(Line(what=f"{kind} prompts answered", found=_answers(answer)) for kind, answer in sides),
        Line(
            what="answers",
            found=f"language: {untuned.language}; marks of reasoning in {thinking} of {sum(a.n for a in answers)}; "
            f"generation ends at {' '.join(untuned.ends)}",
        ),
    ]


def _rows(rows: RowsFound, max_length: int) -> str:
    origin = "" if rows.read is None else f"{rows.read:,} read, {rows.skipped:,} skipped, "
    return (
        f"{origin}{rows.used:,} used: {rows.dropped:,} dropped, {rows.cut:,} cut, {rows.duplicated:,} duplicated; "
        f"longest {rows.longest:,} of {max_length:,} tokens"
    )


def _answers(answers: AnswersFound) -> str:
    margin = "no margin" if answers.margin is None else f"{_count(answers.margin)} by margin"
    agree = "" if answers.agree is None else f", both agree on {_count(answers.agree)}"
    ended = _count(answers.ended)
    return (
        f"of {answers.n} refused: {_count(answers.phrases)} by phrases, {margin}{agree}; {ended} ended, "
        f"{answers.n - ended} cut"
    )


def _count(rate: Estimate) -> int:
    return round(rate.value * rate.n)
