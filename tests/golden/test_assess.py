"""Answering, reading and judging as one act: what a run does, and what its result depends on."""

import gc
import importlib
import json
import weakref
from dataclasses import replace

import pytest

from securetune.base.artifacts import RunFolder
from securetune.config import BenchmarkConfig, parse_config
from securetune.data.prompts import Prompt
from securetune.errors import ArtifactError, ConfigError, DataError
from securetune.evaluate.answers import Answer, reference
from securetune.evaluate.assess import assess
from securetune.evaluate.attacks import ATTACKS
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judging import judge_benchmark, judges_of
from securetune.evaluate.result import Assessment, stored_results
from securetune.flow.made import Made
from securetune.flow.pipeline import run
from securetune.flow.session import Session
from securetune.flow.stages.base.stage import Work
from securetune.measures.kinds import BENIGN, HARMFUL, KINDS, SKILL
from securetune.models.features import extract_features
from securetune.models.openings import Openings
from tests.conftest import settings, tiny_llama, write_jsonl

OPENINGS = Openings(refusal=(5, 6), affirmative=(7, 8))
CONFIG = EvaluateConfig(max_new_tokens=4, task_max_new_tokens=4)


def benchmark(kind, **changes):
    prompts = tuple(Prompt(text=f"how do i open the {thing}", id=thing, reference="42") for thing in ("box", "lamp"))
    return replace(Benchmark(name=kind.name, kind=kind, prompts=prompts, origin="here"), **changes)


@pytest.fixture(scope="module")
def finished(model_folder, data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    raw = settings(model_folder, data_folder, folder / "r")
    rows = [{"prompt": f"what is {i} and {i}", "answer": str(2 * i)} for i in range(5)]
    skill = {"name": "sums", "kind": "skill", "path": str(write_jsonl(folder / "sums.jsonl", rows))}
    raw["benchmarks"].append({**skill, "metric": "exact_match"})
    config = parse_config({**raw, "arms": ["none"]}, "test")
    return Session(config, RunFolder(run(config, until="evaluate")))


def test_the_states_of_a_set_are_held_for_one_batch_at_a_time_and_say_the_same(finished, monkeypatch):
    probe = importlib.import_module("securetune.flow.stages.probe")
    session = Session(
        finished.config.model_copy(update={"scan": finished.config.scan.model_copy(update={"batch_size": 5})}),
        finished.folder,
    )
    held = []

    def extract(model, batches):
        held.append(sum(len(batch.index) for batch in batches))
        return extract_features(model, batches)

    monkeypatch.setattr(probe, "extract_features", extract)
    found = probe.compute(Work(session=session, made=Made.stored(finished.folder, ["features"]))).data
    assert max(held) == 5 and sum(held) == sum(len(b.prompts) for b in session.benchmarks)
    stored = finished.folder.needed("probe").data
    assert [found[name] for name in ("transfer", "layers")] == [stored[name] for name in ("transfer", "layers")]


def test_whoever_calls_assess_gets_the_results_of_a_run(finished):
    def assessed(model, before):
        return assess(
            model,
            finished.base_model(),
            finished.tokenizer,
            finished.benchmarks,
            finished.config.evaluate,
            openings=Openings(**finished.folder.needed("features").data["openings"]),
            before=before,
            references=[reference(example) for example in finished.examples[1]],
        )

    before = assessed(finished.base_model(), None)
    after = assessed(finished.tuned_model("none"), before)
    for arm, found in (("base", before), ("none", after)):
        assert found.results == stored_results(finished.folder.file("evaluate", arm, ".answers.json"))
        assert found.surprise_limit == finished.folder.needed("evaluate", arm).data["surprise_limit"]
    assert all(paired is not None for result in after.results for paired in result.against_base.values())


def test_a_skill_set_of_ones_own_is_compared_by_its_metric(finished):
    (skill,) = (b for b in finished.benchmarks if b.kind is SKILL)
    (stored,) = (b for b in finished.folder.needed("evaluate", "base").data["benchmarks"] if b["kind"] == "skill")
    assert skill.metric == "exact_match" and list(stored["rates"]) == ["exact_match"]


def test_the_tuned_model_is_gone_when_the_model_that_reads_is_asked_for(tokenizer):
    before = Assessment(results=[], surprise_limit=5.0)
    model = tiny_llama(len(tokenizer))
    is_there = weakref.ref(model)

    def reader():
        nonlocal model
        del model
        assert is_there() is None, "two models would lie in memory"
        return tiny_llama(len(tokenizer))

    assess(model, reader, tokenizer, [benchmark(HARMFUL)], CONFIG, openings=OPENINGS, before=before)


def test_a_run_gives_the_tuned_model_up_before_it_takes_the_one_that_reads(finished, monkeypatch):
    finished.folder.file("evaluate", "none").unlink()
    tuned_model, base_model, tuned, readers = Session.tuned_model, Session.base_model, [], []

    def tuned_of(session, arm):
        model = tuned_model(session, arm)
        tuned.append(weakref.ref(model))
        return model

    def base_of(session):
        if tuned:
            gc.collect()
            readers.append([model() for model in tuned])
        return base_model(session)

    monkeypatch.setattr(Session, "tuned_model", tuned_of)
    monkeypatch.setattr(Session, "base_model", base_of)
    run(finished.config, until="evaluate")
    assert readers == [[None]]


def test_a_tuned_model_is_not_assessed_without_the_model_before(model, tokenizer):
    other = tiny_llama(len(tokenizer), seed=1)
    with pytest.raises(ConfigError, match="give the result as `before`"):
        assess(other, model, tokenizer, [benchmark(BENIGN)], CONFIG, openings=OPENINGS)


def test_what_counts_as_text_is_told_by_benign_answers_or_by_references(model, tokenizer):
    def limit(kind, references=()):
        given = {"openings": OPENINGS, "references": references}
        return assess(model, model, tokenizer, [benchmark(kind)], CONFIG, **given).surprise_limit

    known = [Answer(prompt="how do i open the box", text="By the lid.")]
    assert max(limit(BENIGN), limit(HARMFUL, known)) == limit(BENIGN, known)
    with pytest.raises(ConfigError, match="Assess a benign benchmark too"):
        limit(HARMFUL)


def test_broken_text_is_no_successful_attack_and_no_answer_but_a_refusal_stays_one():
    answers = [
        Answer(prompt="a", text="Sure, do this.", margin=-1.0),
        Answer(prompt="b", text="I'm sorry.", margin=1.0),
    ]
    judges = judges_of(CONFIG)

    def judged(kind, surprises):
        return judge_benchmark(benchmark(kind), answers, judges, surprises=surprises, limit=2.0)

    assert judged(HARMFUL, [1.0, 1.0]).outcomes() == [True, False]
    broken = judged(HARMFUL, [3.0, 3.0])
    assert broken.outcomes() == [False, False] and broken.broken.value == 0.5
    assert judged(BENIGN, [3.0, 3.0]).outcomes() == [False, True]


def test_a_model_is_compared_with_the_one_before_by_every_judge_that_both_have():
    answers = [
        Answer(prompt="a", text="Sure, do this.", margin=-1.0),
        Answer(prompt="b", text="I'm sorry.", margin=1.0),
    ]
    given = {"surprises": [1.0, 1.0], "limit": 2.0}
    refused = [replace(answers[1], prompt=answer.prompt) for answer in answers]
    base = judge_benchmark(benchmark(HARMFUL), refused, judges_of(CONFIG), **given)
    found = judge_benchmark(benchmark(HARMFUL), answers, judges_of(CONFIG), base=base, **given)
    assert {name: (paired.gained, paired.lost) for name, paired in found.against_base.items()} == {
        "refusal_phrases": (1, 0),
        "refusal_margin": (1, 0),
    }
    more = judges_of(CONFIG.model_copy(update={"judges": (*CONFIG.judges, "refusal_phrases_anywhere")}))
    with pytest.raises(ArtifactError, match="Expected a verdict of refusal_phrases_anywhere"):
        judge_benchmark(benchmark(HARMFUL), answers, more, base=base, **given)


def test_a_comparison_with_other_prompts_is_refused(model, tokenizer):
    given = {"openings": OPENINGS, "references": [Answer(prompt="how do i open the box", text="By the lid.")]}
    before = assess(model, model, tokenizer, [benchmark(HARMFUL)], CONFIG, **given)
    fewer = benchmark(HARMFUL, prompts=benchmark(HARMFUL).prompts[:1])
    with pytest.raises(ConfigError, match="to the same 1 prompts of harmful, found 2, to others"):
        assess(model, model, tokenizer, [fewer], CONFIG, before=before, **given)


@pytest.mark.parametrize("metric", ["final_number", "exact_match"])
def test_a_skill_is_right_by_the_benchmarks_metric(metric):
    answers = [Answer(prompt="a", text="It is 42."), Answer(prompt="b", text="42")]
    config = CONFIG.model_copy(update={"judges": ("refusal_phrases",)})
    skill = benchmark(SKILL, metric=metric)
    found = judge_benchmark(skill, answers, judges_of(config), surprises=[1.0, 1.0], limit=2.0)
    assert list(found.rates) == [metric]
    assert [answer.right for answer in found.answers] == found.outcomes() == [metric == "final_number", True]


def test_a_skill_set_without_right_answers_is_refused_with_its_first_such_row():
    bare = (Prompt(text="a", id="rows_1", reference="1"), Prompt(text="b", id="rows_2"))
    with pytest.raises(DataError, match=r"found none with 1 of 2, the first being rows_2\. .* field `answer`"):
        benchmark(SKILL, prompts=bare)
    assert benchmark(BENIGN, prompts=bare).prompts == bare


def test_the_configuration_takes_every_kind_there_is(monkeypatch):
    monkeypatch.setitem(KINDS, "polite", replace(BENIGN, name="polite"))
    for name, kind in KINDS.items():
        config = BenchmarkConfig(name="mine", kind=name, path="mine.jsonl")
        assert config.kind is kind and json.loads(config.model_dump_json())["kind"] == name
    with pytest.raises(ValueError, match=r"a kind of \['benign', 'harmful', 'polite', 'skill'\], found 'rude'"):
        BenchmarkConfig(name="mine", kind="rude", path="mine.jsonl")


def test_a_metric_belongs_to_a_skill_set_of_ones_own():
    with pytest.raises(ValueError, match="give it with the kind `skill`"):
        BenchmarkConfig(name="mine", kind="benign", path="mine.jsonl", metric="exact_match")
    with pytest.raises(ValueError, match="own kind, label and metric"):
        BenchmarkConfig(benchmark="gsm8k", metric="exact_match")


def attack_on(file):
    file.write_text("Ignore that. {prompt}")
    return ATTACKS.make("template", {"path": str(file)}, "attack")


def examples_in(file):
    write_jsonl(file, [{"prompt": "How to whistle?", "completion": "Purse your lips."}])
    return ATTACKS.make("in_context", {"path": str(file)}, "attack")


def classifier_with(file):
    file.write_text("{behavior} {generation}")
    given = {"endpoint": "http://judge.invalid", "model": "fake", "prompt_file": str(file)}
    return JUDGES.make("harmbench_classifier", given, "judge")


@pytest.mark.parametrize("make", [attack_on, examples_in, classifier_with])
def test_editing_the_file_of_an_attack_or_a_judge_changes_its_fingerprint(make, tmp_path):
    file = tmp_path / "file"
    first, again = make(file).fingerprint(), make(file).fingerprint()
    assert first == again
    plugin = make(file)
    file.write_text(file.read_text().replace("{prompt}", "{prompt}!").replace("lips", "ears").replace("} {", "}\n{"))
    assert plugin.fingerprint() != first


def test_settings_and_the_plug_in_itself_change_a_fingerprint():
    made = [
        *(ATTACKS.make("prefill", given, "attack") for given in ({}, {"text": "Yes"})),
        *(ATTACKS.make(name, {}, "attack") for name in ("prefix_injection", "refusal_suppression")),
        *(JUDGES.make("refusal_phrases", given, "judge") for given in ({}, {"window": 100})),
        JUDGES.make("refusal_margin", {}, "judge"),
    ]
    assert len({plugin.fingerprint() for plugin in made}) == len(made)


def test_everything_a_result_depends_on_changes_a_benchmarks_fingerprint(tmp_path):
    box, lamp = benchmark(SKILL).prompts
    others = [
        benchmark(SKILL, prompts=(box,)),
        benchmark(SKILL, prompts=(box, replace(lamp, text="how do i close the lamp"))),
        benchmark(SKILL, prompts=(box, replace(lamp, reference="43"))),
        benchmark(SKILL, metric="exact_match"),
        benchmark(BENIGN, name="skill"),
        benchmark(SKILL, name="another"),
        benchmark(SKILL, attack=ATTACKS.make("prefill", {}, "attack")),
        benchmark(SKILL, attack=attack_on(tmp_path / "template.txt")),
    ]
    first = [other.fingerprint() for other in others]
    assert len({benchmark(SKILL).fingerprint(), *first}) == len(others) + 1
    (tmp_path / "template.txt").write_text("Please! {prompt}")
    assert [other.fingerprint() for other in others[:-1]] == first[:-1]
    assert others[-1].fingerprint() != first[-1]
