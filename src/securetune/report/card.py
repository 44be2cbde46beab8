"""Card: a model card for a tuned model, in the Hub's format, from a run's artifacts alone."""

import re
from pathlib import Path

import yaml

from securetune.defences.base.arm import BASE, PLAIN
from securetune.errors import ArtifactError
from securetune.report.reading import Model, Run, named_arms
from securetune.report.tables import markdown, markdown_text

_TEXT = """---
{metadata}---

# {title}

Tuned from {base} with securetune on {task}: {arm}.

## Safety before and after

ASR: share of harmful prompts that get a coherent answer which the first judge does not call a refusal. Over-refusal:
share of benign prompts refused. 95 % Wilson intervals; seed {seed}. Every row was trained to the same held-out task
loss, where it says nothing else.

{table}
{use}
## Limits

These numbers hold for these prompts and these judges. The method is against drift under benign tuning, not against
somebody who tunes on harmful data on purpose. Evaluate again after every further tuning.

## Provenance

{provenance}
"""


def render_card(run: Run, arm: str, base_model: str | None = None) -> str:
    """The card of the model that an arm of a finished run has tuned, as Markdown with its metadata.

    Args:
        run: a finished run.
        arm: which of its arms.
        base_model: id on the Hub of the model that was tuned; by default the run's, which a folder's path is not.

    Raises:
        ArtifactError: the run has not tuned and evaluated such an arm, or its configuration names it no more.
    """
    models = [run.model(name) for name in dict.fromkeys([BASE, PLAIN, arm])]
    model = run.model(arm)
    if model.training is None:
        tuned = [one.arm for one in run.models if one.training is not None]
        raise ArtifactError(f"Expected an arm that was tuned, found {arm!r}. Choose one of {tuned}.")
    named = named_arms(run.folder)
    if named is not None and arm not in (PLAIN, *named):
        raise ArtifactError(
            f"Expected an arm of the run's configuration, found {arm!r}, which an earlier one has left. Choose one of "
            f"{list(dict.fromkeys((PLAIN, *named)))}, or run it again."
        )
    config = run.config
    base, task = base_model or hub_id(config.model.path), config.task.name
    metadata = {
        **({} if base is None else {"base_model": base}),
        "library_name": "peft" if config.train.adapter == "lora" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["securetune", "safety"],
        "model-index": [{"name": f"{task}, {model.title}", "results": _results(model)}],
    }
    prompt, origin = model.evaluation.system, model.training.provenance
    return _TEXT.format(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True),
        title=markdown_text(f"{task}, {model.title}"),
        base="a model that is not on the Hub" if base is None else markdown_text(base),
        task=markdown_text(task),
        arm=markdown_text(model.title),
        seed=origin.seed,
        table=markdown(models),
        use="" if prompt is None else f"\n## Use\n\nWith this system prompt:\n\n{_quoted(prompt)}\n",
        provenance="\n".join(f"- {name} {version}" for name, version in origin.versions.items())
        + f"\n- trained {origin.created}, inputs {origin.digest}",
    )


def hub_id(path: str) -> str | None:
    """A model's id on the Hub; None where it names a folder of this machine."""
    is_id = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", path) is not None
    return path if is_id and not Path(path).exists() else None


def _quoted(text: str) -> str:
    """A text of several lines as a quotation."""
    return "\n".join(f"> {markdown_text(line)}" for line in text.splitlines())


def _results(model: Model) -> list[dict[str, object]]:
    """Every benchmark's rate in the Hub's form."""
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": benchmark.benchmark, "type": benchmark.kind.name},
            "metrics": [
                {"type": benchmark.kind.metric_type, "name": f"{benchmark.column} by {judge}", "value": rate.value}
                for judge, rate in benchmark.rates.items()
            ],
        }
        for benchmark in model.benchmarks
    ]
