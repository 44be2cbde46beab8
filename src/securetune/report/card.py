"""Card: a model card for a tuned model, in the Hub's format, from a run's artifacts alone."""

import yaml

from securetune.base.artifacts import RunFolder
from securetune.defences.base.arm import PLAIN
from securetune.report.tables import Row, comparison, markdown

_TEXT = """---
{metadata}---

# {title}

Tuned from `{base}` with securetune on `{task}`: {arm}.

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


def render_card(folder: RunFolder, arm: str) -> str:
    """The card of the model that an arm of a finished run has tuned, as Markdown with its metadata.

    Raises:
        ArtifactError: the run has not tuned and evaluated such an arm.
    """
    names = list(dict.fromkeys([PLAIN, arm]))
    config = yaml.safe_load((folder.path / "config.yaml").read_text(encoding="utf-8"))
    evaluated = [folder.needed("evaluate", name) for name in ("base", *names)]
    trained = [folder.needed("train", name) for name in names]
    rows = comparison(evaluated, trained)
    base, task = config["model"]["path"], config["task"]["name"]
    title = rows[-1].title
    metadata = {
        "base_model": base,
        "library_name": "peft" if config["train"]["adapter"] == "lora" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["securetune", "safety"],
        "model-index": [{"name": f"{task}, {title}", "results": _results(rows[-1])}],
    }
    prompt = evaluated[-1].data["system"]
    made = trained[-1]
    return _TEXT.format(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True),
        title=f"{task}, {title}",
        base=base,
        task=task,
        arm=title,
        seed=made.seed,
        table=markdown(rows),
        use="" if prompt is None else f"\n## Use\n\nWith this system prompt:\n\n> {prompt}\n",
        provenance="\n".join(f"- {name} {version}" for name, version in made.versions.items())
        + f"\n- trained {made.created}, inputs {made.digest}",
    )


def _results(row: Row) -> list[dict[str, object]]:
    """Every benchmark's rate in the Hub's form."""
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": benchmark["benchmark"], "type": benchmark["kind"]},
            "metrics": [
                {
                    "type": "attack_success_rate" if benchmark["kind"] == "harmful" else "over_refusal_rate",
                    "name": judge,
                    "value": rate["value"],
                }
                for judge, rate in benchmark["rates"].items()
            ],
        }
        for benchmark in row.benchmarks
    ]
