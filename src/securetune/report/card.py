"""Card: a model card for a tuned model, in the Hub's format, from a run's artifacts alone."""

import yaml

from securetune.defences.base.arm import BASE, PLAIN
from securetune.errors import ArtifactError
from securetune.report.reading import Model, Run
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


def render_card(run: Run, arm: str) -> str:
    """The card of the model that an arm of a finished run has tuned, as Markdown with its metadata.

    Raises:
        ArtifactError: the run has not tuned and evaluated such an arm.
    """
    models = [run.model(name) for name in dict.fromkeys([BASE, PLAIN, arm])]
    model = run.model(arm)
    if model.training is None:
        tuned = [one.arm for one in run.models if one.training is not None]
        raise ArtifactError(f"Expected an arm that was tuned, found {arm!r}. Choose one of {tuned}.")
    config = run.config
    base, task = config.model.path, config.task.name
    metadata = {
        "base_model": base,
        "library_name": "peft" if config.train.adapter == "lora" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["securetune", "safety"],
        "model-index": [{"name": f"{task}, {model.title}", "results": _results(model)}],
    }
    prompt, origin = model.evaluation.system, model.training.provenance
    return _TEXT.format(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True),
        title=markdown_text(f"{task}, {model.title}"),
        base=markdown_text(base),
        task=markdown_text(task),
        arm=markdown_text(model.title),
        seed=origin.seed,
        table=markdown(models),
        use="" if prompt is None else f"\n## Use\n\nWith this system prompt:\n\n{_quoted(prompt)}\n",
        provenance="\n".join(f"- {name} {version}" for name, version in origin.versions.items())
        + f"\n- trained {origin.created}, inputs {origin.digest}",
    )


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
                {"type": benchmark.kind.metric_type, "name": judge, "value": rate.value}
                for judge, rate in benchmark.rates.items()
            ],
        }
        for benchmark in model.benchmarks
    ]
