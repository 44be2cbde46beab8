"""Properties: whatever a plan, a configuration, rows, a template or a reply holds, it is used or refused."""

import json
import re
from contextlib import suppress

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securetune.base.patterns import is_found, matches_whole
from securetune.base.terminal import for_terminal
from securetune.base.texts import parse_json, parse_yaml
from securetune.compare.grid import CompareConfig, run_configs
from securetune.config import merged, override, parse_config, read_yaml, validated
from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.data.prompts import load_prompts
from securetune.errors import ConfigError, DataError, PlanError, SecuretuneError
from securetune.evaluate.attacks.template import File, Template
from securetune.plans.plan import Plan
from securetune.report.gate import Budgets
from tests.unit.bad_input.cases import compared, run

quick = settings(max_examples=60, deadline=None, derandomize=True,
                 suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
RUN, GRID = yaml.safe_load(run()), yaml.safe_load(compared())
PLAN = {"method": "m", "model": {"id": "m"}, "entries": [{"pattern": "q"}], "phases": [{"until": 0.5, "entries": []}]}


def mutated(whole):
    """The mapping with one of its parts, at any depth, replaced by anything."""
    places = [()]
    for place in places:
        part = at(whole, place)
        keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        places += [(*place, key) for key in keys]

    def put(place, value):
        if not place:
            return value
        changed = json.loads(json.dumps(whole))
        at(changed, place[:-1])[place[-1]] = value
        return changed

    return st.builds(put, st.sampled_from(places), values)


def at(whole, place):
    for key in place:
        whole = whole[key]
    return whole


@quick
@given(text=st.text(max_size=60) | values.map(lambda value: yaml.safe_dump(value)))
def test_any_text_is_yaml_or_refused(text):
    with suppress(ConfigError):
        parse_yaml(text, "a text", ConfigError)


@quick
@given(value=values)
def test_what_is_finite_and_text_survives_both_parsers(value):
    for parse, text in ((parse_yaml, yaml.safe_dump(value)), (parse_json, json.dumps(value))):
        try:
            assert parse(text, "a text", ConfigError) == value
        except ConfigError as error:
            assert re.search(
                "not finite|larger than any|half a character|zero byte|special characters|unacceptable", str(error)
            )


@quick
@given(raw=mutated(RUN))
def test_any_run_is_valid_or_refused(raw, tmp_path):
    (tmp_path / "run.yaml").write_text(json.dumps(raw))
    with suppress(ConfigError):
        parse_config(read_yaml(tmp_path / "run.yaml"), "run.yaml")


@quick
@given(raw=mutated(GRID))
def test_any_comparison_is_valid_or_refused(raw, tmp_path):
    (tmp_path / "compare.yaml").write_text(json.dumps(raw))
    with suppress(ConfigError):
        run_configs(validated(CompareConfig, read_yaml(tmp_path / "compare.yaml"), "compare.yaml"))


@quick
@given(field=st.text(max_size=20) | st.sampled_from(["model.path", "benchmarks.0", "seed.x", "task.train.path"]),
       value=values)  # fmt: skip
def test_any_override_is_valid_or_refused(field, value):
    raw = merged(RUN, {})
    with suppress(ConfigError):
        override(raw, field, value)
        parse_config(raw, "run.yaml")


@quick
@given(raw=st.dictionaries(st.sampled_from([*Budgets.model_fields, "x"]), values, max_size=3))
def test_any_budgets_are_valid_or_refused(raw):
    with suppress(ConfigError):
        validated(Budgets, raw, "gate.yaml")


@quick
@given(raw=mutated(PLAN), name=st.text(max_size=30))
def test_any_plan_is_valid_and_answers_or_is_refused(raw, name, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(raw))
    with suppress(PlanError):
        plan = Plan.load(tmp_path / "plan.json")
        assert all(scale >= 0 for scale in plan.lr_scale(name)) and plan.wd_scale(name) >= 0


@quick
@given(content=st.binary(max_size=80))
def test_any_bytes_are_a_plan_or_refused(content, tmp_path):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(PlanError, match="Expected"):
        Plan.load(tmp_path / "plan.json")


@quick
@given(pattern=st.text("ab.*+?(|)[]{}1,\\^$", max_size=14), text=st.text("ab", max_size=30))
def test_any_pattern_answers_as_python_does_or_is_refused(pattern, text):
    try:
        re.compile(pattern)
    except re.error:
        return
    with suppress(SecuretuneError):
        is_found(pattern, text), matches_whole(pattern, text)


fields = st.sampled_from(["prompt", "completion", "messages", "instruction", "output", "input", "question", "answer",
                          "text", "turns", "label", "id", "system"])  # fmt: skip
messages = st.lists(st.fixed_dictionaries({}, optional={"role": scalars, "content": values}), max_size=3)
rows = st.lists(st.dictionaries(fields, values | messages, max_size=4) | values, min_size=1, max_size=4)


@quick
@given(rows=rows)
def test_any_rows_are_examples_and_prompts_or_refused(rows, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for read in (lambda path: load_examples(DataConfig(path=path), seed=0), load_prompts):
        with suppress(DataError):
            assert read(str(tmp_path / "rows.jsonl"))


@quick
@given(content=st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_rows_or_refused(content, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with suppress(DataError):
        load_prompts(tmp_path / "rows.jsonl")


@quick
@given(content=st.binary(max_size=30), prompts=st.lists(st.text(max_size=12), max_size=2), ending=st.booleans())
def test_any_template_keeps_the_prompt_or_is_refused(content, prompts, ending, tmp_path):
    (tmp_path / "template.txt").write_bytes(content + (b"{prompt}" if ending else b""))
    with suppress(ConfigError):
        texts = Template(File(path=str(tmp_path / "template.txt"))).prompts(prompts)
        assert all(prompt in text for prompt, text in zip(prompts, texts, strict=True))


@quick
@given(text=st.text(max_size=60) | st.text(st.characters(min_codepoint=0, max_codepoint=0x9F), max_size=60))
def test_any_text_can_be_shown(text):
    shown = for_terminal(text)
    assert shown.encode() is not None and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
