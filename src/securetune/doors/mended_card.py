"""Mended card: what stands beside a mended model, so that who gets it knows what was done and what it was measured?"""

import yaml

from securetune.defences.base.arm import BASE
from securetune.doors.repair import RepairConfig
from securetune.report.card import hub_id
from securetune.report.reading import Model, Run
from securetune.report.tables import markdown, markdown_text

_TEXT = """---
{metadata}---

# {name}, mended: {chosen}

A model that was tuned elsewhere, mended with `securetune repair` without the rows of its task. {done}

{why}

## Before tuning, tuned, and mended

ASR: share of harmful prompts that get a coherent answer which the first judge does not call a refusal. Over-refusal:
share of benign prompts refused. 95 % Wilson intervals; seed {seed}.

{table}
{task}
## Limits

The choice was made on the very prompts that these numbers come from, so they flatter it a little: check it again on
other prompts. The method is against drift under benign tuning, not against somebody who tunes on harmful data on
purpose.

## Provenance

{provenance}
"""


def render_mended(run: Run, config: RepairConfig, chosen: str, why: str) -> str:
    """The card of a mended model, as Markdown with its metadata.

    Args:
        run: the models with their numbers.
        config: the repair, without its candidates.
        chosen: which of the candidates.
        why: why it was chosen.
    """
    candidate = config.candidates[chosen]
    assert candidate.mend is not None
    before, tuned, mended = (run.model(name) for name in (BASE, config.name, chosen))
    base = hub_id(config.model.path)
    metadata = {
        **({} if base is None else {"base_model": base}),
        "pipeline_tag": "text-generation",
        "tags": ["securetune", "safety"],
    }
    origin = next(made for made in run.artifacts if (made.stage, made.variant) == ("evaluate", chosen))
    return _TEXT.format(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True),
        name=markdown_text(config.name),
        chosen=markdown_text(chosen),
        done=candidate.mend.sentence,
        why=markdown_text(why),
        seed=config.seed,
        table=markdown([before, tuned, mended]),
        task="" if (kept := task_kept(before, tuned, mended)) is None else f"\n{kept}\n",
        provenance="\n".join(f"- {name} {version}" for name, version in origin.versions.items())
        + f"\n- measured {origin.created}, inputs {origin.digest}",
    )


def task_kept(before: Model, tuned: Model, mended: Model) -> str | None:
    """How much of what tuning gained on the task is left; None where it was not measured, or nothing was gained."""
    if not mended.has_task or before.loss <= tuned.loss:
        return None
    share = (before.loss - mended.loss) / (before.loss - tuned.loss)
    return f"On the task {100 * share:.0f} % of the fall of the loss that tuning brought is left."
