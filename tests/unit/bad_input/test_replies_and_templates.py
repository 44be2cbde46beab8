"""Replies of judges and chat templates: whatever a service or a folder holds, it is used or refused, in time."""

import io
import json
import time
import urllib.error
from contextlib import suppress
from email.message import Message
from http.client import IncompleteRead, RemoteDisconnected
from shutil import copytree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securetune.data.prompts import render
from securetune.data.rendering import check_prompts, check_template
from securetune.errors import ConfigError, DataError, ModelError
from securetune.evaluate.answers import Answer
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base import endpoint
from securetune.evaluate.judges.base.chat import ChatJudge
from securetune.models.config import ModelConfig
from securetune.models.loading import load_tokenizer
from securetune.models.template import close_reasoning, set_variables
from securetune.models.trial import check_ends
from tests.unit.bad_input.test_properties import values

quick = settings(max_examples=40, deadline=None, derandomize=True,
                 suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
ASKED = [name for name in JUDGES.names() if issubclass(JUDGES.get(name), ChatJudge)]
ANSWERS = [Answer(prompt="How?", text="So."), Answer(prompt="Why?", text="\0\u202e")]
pieces = st.sampled_from(
    ["score", ":", " 1", "5", "yes", "No", "safe", "unsafe", "S1", "Safety:", "Controversial", "<think>", "</think>",
     "<|channel|>", "final<|message|>", "[THINK]", "refusal", "convincing", "specific", "=", "\n", '"', "{", "}", "*",
     "\ud800", "\0", "assistantfinal", "analysisA", "<score>", "</score>", "1 or 2", "0"]
)  # fmt: skip
spoken = st.lists(pieces, max_size=30).map("".join) | st.text(max_size=40)
contents = spoken | values | st.lists(st.dictionaries(st.sampled_from(["type", "text"]), values | spoken), max_size=3)
messages = st.fixed_dictionaries({}, optional={"role": values, "content": contents, "refusal": values})
replies = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": messages}) | values, max_size=2)}
)
bodies = (
    (replies | values).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
    | st.sampled_from([b"[" * 5000, b'{"choices":' * 900 + b"1" + b"}" * 900, b"9" * 5000, b"\xef\xbb\xbf{}"])
)
headers = st.dictionaries(st.sampled_from(["Location", "Retry-After"]), st.sampled_from(["nan", "x", "-1", "1e9"]))
breakdowns = st.sampled_from([OSError("no route"), IncompleteRead(b""), RemoteDisconnected(), ValueError("x")])


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    file = tmp_path_factory.mktemp("judge") / "prompt.txt"
    file.write_text("{behavior} {generation}")

    def make(name):
        given = {"endpoint": "http://127.0.0.1:9/v1", "model": "m", "retries": 0, "repeats": 0, "timeout": 5}
        own = {"prompt_file": str(file)} if name == "harmbench_classifier" else {}
        return JUDGES.make(name, {**given, **own}, "judge")

    return make


class Replies:
    """A service that says the same to everybody."""

    def __init__(self, body, code, head, breakdown):
        self.body, self.code, self.head, self.breakdown = body, code, Message(), breakdown
        for name, value in head.items():
            self.head[name] = value

    def __call__(self, request, timeout):
        if self.breakdown is not None:
            raise self.breakdown
        stream = io.BytesIO(self.body)
        if self.code != 200:
            raise urllib.error.HTTPError(request.full_url, self.code, "so", self.head, stream)
        return stream


@quick
@given(name=st.sampled_from(ASKED), body=bodies, code=st.sampled_from([200, 200, 200, 302, 400, 404, 422, 429, 500]),
       head=headers, breakdown=st.none() | st.none() | breakdowns)  # fmt: skip
def test_any_reply_gives_verdicts_or_none_or_an_error_of_ours(name, body, code, head, breakdown, judge, monkeypatch):
    monkeypatch.setattr(endpoint, "open_url", Replies(body, code, head, breakdown))
    with suppress(ModelError, ConfigError):
        judge(name).check()
    with suppress(ModelError):
        verdicts = judge(name).judge(ANSWERS)
        assert all(verdict is None or isinstance(verdict.is_safe, bool) for verdict in verdicts)
        json.dumps([verdict and verdict.score for verdict in verdicts], allow_nan=False)


@quick
@given(name=st.sampled_from(ASKED), reply=spoken)
def test_any_text_is_a_verdict_or_none(name, reply, judge):
    verdict = judge(name).read(reply)
    assert verdict is None or isinstance(verdict.is_safe, bool)


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(
    "unit", ["score: ", "safe ", "<think>", "</think>", " ", "*", "yes no ", "\n", "Safety: Safe\n", "1 or ", "{", "= "]
)
def test_a_long_reply_is_read_in_a_moment(name, unit, judge):
    start = time.thread_time()
    judge(name).read(unit * 20_000)
    assert time.thread_time() - start < 2


parts = st.sampled_from(
    ["{% for message in messages %}", "{% endfor %}", "{{ message['content'] }}", "{{ message.role }}", "<|user|>",
     "\n",
     "{% if message.role == 'user' %}", "{% elif loop.first %}", "{% else %}", "{% endif %}", "{{ eos_token }}", "{{",
     "{% if add_generation_prompt %}<|assistant|>{% endif %}", "{{ messages[0]['content'] | trim }}", "}}", "{% set",
     "{{ raise_exception('no') }}", "{{ messages | tojson }}", "{% generation %}", "{% endgeneration %}", "<think>\n",
     "{% break %}", "{{ ''.__class__.__mro__ }}", "{% macro f(x) %}", "{% endmacro %}", "{{ f(1) }}", "{{ 'a' * 9 }}",
     "{{ messages[7].content }}", "{{ 1 / 0 }}", "{{ strftime_now('%Y') }}", "{% set x = messages.pop() %}", "{# c #}",
     "{{ message['content'] + 1 }}", "{{ range(200000) | list }}", "{% include 'x' %}", "{{ self }}", "{{ caller() }}"]
)  # fmt: skip
templates = st.lists(parts, min_size=1, max_size=14).map("".join) | st.text(min_size=1, max_size=30)


@pytest.fixture
def with_template(tokenizer):
    kept = tokenizer.chat_template

    def change(template):
        tokenizer.chat_template = template
        return tokenizer

    yield change
    tokenizer.chat_template = kept


@quick
@given(template=templates, prompts=st.lists(st.text(max_size=20), min_size=1, max_size=3),
       system=st.none() | st.text(max_size=8))  # fmt: skip
def test_any_template_shows_any_prompt_or_is_refused(template, prompts, system, with_template):
    tokenizer = with_template(template)
    with suppress(ModelError, DataError):
        check_template(tokenizer)
    with suppress(ModelError, DataError):
        check_prompts(tokenizer, "set", prompts, systems=(None, system))
    with suppress(DataError):
        texts = render(tokenizer, prompts, system=system)
        assert len(texts) == len(prompts)
    with suppress(ModelError):
        set_variables(tokenizer, {"add_generation_prompt": True})
    close_reasoning(tokenizer)


@settings(quick, max_examples=15)
@given(template=templates)
def test_any_template_of_this_kind_is_done_in_a_moment(template):
    check_ends("m", template, {"eos_token": "</s>"})


ENDLESS = {
    "loops within loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a text again and again": "{{ 'a' * 10 ** 11 }}",
    "a wide field": "{{ '%99999999999d' % 1 }}",
    "a text that doubles": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x * 2 %}{% endfor %}",
    "words": "{{ lipsum(n=10000000) }}",
}  # fmt: skip


@pytest.mark.parametrize("template", ENDLESS.values(), ids=ENDLESS)
def test_a_template_without_end_is_refused_when_it_is_loaded(template, monkeypatch):
    monkeypatch.setattr("securetune.models.trial._SECONDS", 1)
    with pytest.raises(
        ModelError, match=r"(?s)chat template in 'm' that is done in a moment, found that it takes more"
    ):
        check_ends("m", template, {})


def test_a_tokenizer_is_not_loaded_with_such_a_template(model_folder, tmp_path):
    folder = copytree(model_folder, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(ENDLESS["a text again and again"])
    with pytest.raises(ModelError, match=r"takes more than 1 GiB of memory .* four short turns. Look for loops"):
        load_tokenizer(ModelConfig(path=str(folder)))
