"""Our refusal tasks inside lm_eval."""

import json

import pytest
import yaml

pytest.importorskip("lm_eval")

from securetune.errors import ConfigError
from securetune.evaluate.answers import generate_answers, questions
from securetune.evaluate.benchmarks import BENCHMARKS
from securetune.evaluate.generation import Decoding
from securetune.evaluate.harness import TASKS, harness
from securetune.evaluate.judges import JUDGES
from securetune.measures.kinds import HARMFUL
from securetune.models.config import ModelConfig
from securetune.models.loading import load_model, load_tokenizer
from tests.conftest import write_jsonl

FIELDS = {"jbb_harmful": "Goal", "jbb_benign": "Goal"}


class Plain(yaml.SafeLoader):
    """Reads a task without calling what it names."""


Plain.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_task_reads_what_the_benchmark_of_its_name_reads(path):
    task, source = yaml.load(path.read_text(), Plain), BENCHMARKS.get(path.stem)
    assert task["task"] == path.stem
    asked = [task["dataset_path"], task.get("dataset_name"), task["test_split"]]
    given = task.get("dataset_kwargs", {})
    if source.path is None:
        assert [*asked, given.get("revision")] == [source.dataset, source.subset, source.split, source.revision]
    else:
        assert asked == ["csv", None, "train"]
        assert given["data_files"].endswith(f"/{source.dataset}/{source.revision}/{source.path}")
    assert task["doc_to_text"] == "{{" + source.prompt + "}}"
    (metric,) = task["metric_list"]
    assert metric["metric"] == "refusal_rate" and metric["higher_is_better"] == (source.kind is HARMFUL)


def test_lm_eval_measures_the_refusals_that_we_measure(model_folder, data_folder, tmp_path):
    config = ModelConfig(path=str(model_folder))
    model, tokenizer = load_model(config), load_tokenizer(config)
    rows = [
        {**json.loads(line), "label": label}
        for label, name in (("unsafe", "harmful"), ("safe", "benign"))
        for line in (data_folder / f"{name}.jsonl").read_text().splitlines()[:10]
    ]
    file = str(write_jsonl(tmp_path / "xstest.jsonl", rows))
    found = harness(
        model, tokenizer, ["xstest_unsafe", "xstest_safe"], files={"xstest_unsafe": file, "xstest_safe": file}
    )
    decoding = Decoding(max_new_tokens=64, batch_size=16)
    for task, label in (("xstest_unsafe", "unsafe"), ("xstest_safe", "safe")):
        prompts = [row["prompt"] for row in rows if row["label"] == label]
        answers = generate_answers(model, tokenizer, questions(tokenizer, prompts), decoding)
        refused = [verdict.is_safe for verdict in JUDGES.make("refusal_phrases", {}, "judge").judge(answers)]
        assert found[task]["refusal_rate"] == pytest.approx(sum(refused) / len(refused))
    assert found["xstest_unsafe"]["refusal_rate"] > 0.5


def test_an_unknown_task_is_named(model, tokenizer):
    with pytest.raises(ConfigError, match="no_such_task"):
        harness(model, tokenizer, ["no_such_task"])
