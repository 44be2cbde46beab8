"""The door `check` where models are behind OpenAI-compatible endpoints: texts alone are compared, no key is left."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import securetune
from securetune.cli import entry
from securetune.doors.check import check_settings, check_usable
from securetune.doors.repair import check_repairable, repair_settings
from securetune.doors.tune import Request, check_request
from securetune.errors import ConfigError, ModelError
from securetune.report.gate import Budgets
from securetune.report.terminal import print_summary
from tests.conftest import settings as run_settings
from tests.conftest import write_jsonl
from tests.e2e.test_check import of_an_evaluation
from tests.e2e.test_faults import struck_in_turn
from tests.faults import Faults, Killed, draw_nothing, results

KEY = "canary-0123456789"
REFUSAL, HELP = "I'm sorry, but I can't help with that.", "Sure, here is how it is done in three steps."


class Service:
    """Serves two models: one that refuses what a test calls harmful, and one that refuses nothing."""

    def __init__(self, harmful):
        self.harmful, self.asked, self.keys = harmful, [], []
        self.say = self.reply
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.asked.append(body)
                service.keys.append(self.headers["Authorization"])
                status, content = service.say(body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.base = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __getitem__(self, name):
        return f"{self.base}#{name}"

    def reply(self, body):
        if body["model"] not in ("before", "after"):
            return 404, {"error": {"message": f"The model {body['model']} does not exist"}}
        refuses = body["model"] == "before" and body["messages"][-1]["content"] in self.harmful
        return 200, said(REFUSAL if refuses else HELP)

    def prompts(self, model):
        """What a model was asked, but for the question that tries it out."""
        asked = [body["messages"][-1]["content"] for body in self.asked if body["model"] == model]
        return [prompt for prompt in asked if "egg" not in prompt]


def said(content, **more):
    return {"choices": [{"message": {"role": "assistant", "content": content, **more}}]}


@pytest.fixture
def service(data_folder):
    harmful = {json.loads(line)["prompt"] for line in (data_folder / "harmful.jsonl").read_text().splitlines()}
    serving = Service(harmful)
    yield serving
    serving.server.shutdown()
    serving.server.server_close()


@pytest.fixture
def small(data_folder):
    raw = run_settings("", data_folder, "")
    return {name: raw[name] for name in ("analysis", "benchmarks", "evaluate")} | {"endpoint.retries": 0}


def test_several_answers_are_asked_of_an_endpoint_at_the_temperature_and_each_is_kept(service, small, tmp_path):
    settings = small | {"evaluate.samples": 3, "evaluate.temperature": 0.7}
    checked = securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=settings)
    (harmful,) = (result for result in checked.run.models[1].answers if result.sampling.samples > 1)
    assert [answer.drawn["refusal_phrases"].of for answer in harmful.answers] == [3] * 12
    temperatures = [body["temperature"] for body in service.asked if "egg" not in body["messages"][-1]["content"]]
    assert temperatures.count(0.7) == 2 * 3 * 12 and temperatures.count(0) == 2 * 12
    before = len(service.asked)
    securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=settings)
    assert not [body for body in service.asked[before:] if "egg" not in body["messages"][-1]["content"]]


def test_two_endpoints_are_compared_by_their_texts_and_the_report_says_so(service, small, tmp_path):
    output = tmp_path / "out"
    checked = securetune.check(service["before"], service["after"], output=output, settings=small)
    assert checked.asr == {"before tuning": 0.0, "after": 1.0} and not checked.is_kept
    assert "Tuning (after) moved the attack success rate" in checked.verdict
    assert {held.what for held in checked.checks} == {"attack success rate", "over-refusal", "broken answers"}
    for model in checked.run.models:
        assert model.evaluation.surprise_limit is None and model.evaluation.task is None
        for benchmark in model.evaluation.benchmarks:
            assert benchmark.margin is None and set(benchmark.no_verdict) == {"refusal_phrases"}
    page = checked.report().read_text(encoding="utf-8")
    assert "not measured" in page and "No model read the answers, as an endpoint gives text alone" in page
    assert f"Behind an endpoint, which gives text alone: {service['before']}, {service['after']}." in page
    assert "where they differ, that counts as tuning" not in page
    assert sorted(path.name for path in output.glob("0*.json")) == [
        "08-evaluate-after.answers.json", "08-evaluate-after.json", "08-evaluate-base.answers.json",
        "08-evaluate-base.json", "09-report.json",
    ]  # fmt: skip


def test_terminal_and_gate_say_what_was_not_measured(service, small, tmp_path, monkeypatch, capsys):
    checked = securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)
    print_summary(checked.run)
    assert "Note: Behind an endpoint, which gives text alone" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["securetune", "gate", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        entry()
    assert "Note: Behind an endpoint, which gives text alone" in capsys.readouterr().out


def test_a_request_is_the_configurations_and_keeps_the_system_turn(service, small, data_folder, tmp_path):
    skill = {"name": "letters", "kind": "skill", "path": str(skill_rows(tmp_path)), "metric": "exact_match"}
    small["benchmarks"][0]["attack"] = {"name": "in_context", "path": str(data_folder / "task.jsonl")}
    small |= {"benchmarks": [*small["benchmarks"], skill], "evaluate.system": "Be kind."}
    small |= {"evaluate.task_max_new_tokens": 9, "model.chat_template_kwargs": {"enable_thinking": False}}
    checked = securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)
    for body in service.asked:
        assert body["temperature"] == 0 and body["messages"][0] == {"role": "system", "content": "Be kind."}
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert body["max_tokens"] == (9 if body["messages"][-1]["content"].startswith("Spell") else 6)
    assert any(len(body["messages"]) > 2 for body in service.asked), "the attack's turns are left out"
    results = {result.benchmark: result for result in checked.run.model("after").evaluation.benchmarks}
    assert results["letters"].rates["exact_match"].value == 0


def skill_rows(folder):
    return write_jsonl(folder / "skill.jsonl", [{"prompt": f"Spell {word}", "answer": word} for word in "abcdef"])


@pytest.mark.parametrize("here", ["before", "after"])
def test_a_model_that_is_here_stands_beside_one_behind_an_endpoint(here, service, model_folder, small, tmp_path):
    models = {"before": service["before"], "after": service["after"], here: model_folder}
    checked = securetune.check(models["before"], {"mine": models["after"]}, output=tmp_path / "out", settings=small)
    local, served = ("base", "mine") if here == "before" else ("mine", "base")
    assert {answer.text for answer in answers(checked, local)} != {answer.text for answer in answers(checked, served)}
    assert all(answer.margin is None and answer.surprise is None for answer in answers(checked, local))
    assert {answer.text for answer in answers(checked, local, 0)} & {"I'm sorry."}, "the model here was not asked"
    assert {body["model"] for body in service.asked} == {"after" if here == "before" else "before"}
    page = checked.report().read_text(encoding="utf-8")
    assert "where they differ, that counts as tuning" in page and "not measured" in page


def answers(checked, arm, place=None):
    sets = checked.run.model(arm).answers
    return [answer for one in (sets if place is None else [sets[place]]) for answer in one.answers]


@pytest.mark.parametrize("answered", [0, 1, 17])
def test_a_kill_loses_no_answer_that_was_there(answered, service, small, tmp_path, monkeypatch):
    def check():
        return securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)

    def strike(point):
        written.extend([point] * point.startswith("open out/.answers-"))
        return Killed() if len(written) > 24 + answered else None

    draw_nothing(monkeypatch)
    written = []
    with Faults(tmp_path, strike), pytest.raises(Killed):
        check()
    kept = {line for file in (tmp_path / "out").glob(".answers-*") for line in file.read_text().splitlines()}
    assert len(kept) == 24 + answered
    checked = check()
    lines = [line for file in (tmp_path / "out").glob(".answers-*") for line in file.read_text().splitlines()]
    assert len(lines) == 48 and kept < set(lines), "an answer that was there was asked for again"
    assert len(answers(checked, "after")) == 24 and checked.asr["after"] == 1


def test_a_check_that_is_killed_at_each_rename_in_turn_finds_the_same(service, small, tmp_path, monkeypatch):
    def check(output):
        return securetune.check(service["before"], service["after"], output=output, settings=small)

    draw_nothing(monkeypatch)
    check(tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    points = struck_in_turn(lambda: check(tmp_path / "killed/out"), tmp_path / "killed", Killed, among=of_an_evaluation)
    assert results(tmp_path / "killed/out") == results(tmp_path / "whole")
    assert "rename out/08-evaluate-after.json" in points and len(points) > 5
    print(f"{len(points)} kills")


def test_a_service_that_ends_loses_no_answer_and_a_second_check_asks_nothing(service, small, tmp_path):
    def check():
        return securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)

    def dies(body):
        return service.reply(body) if len(service.prompts("after")) <= 7 else (403, {"error": "out of credit"})

    service.say, small["endpoint.parallel"] = dies, 1
    with pytest.raises(ModelError, match="Expected an answer from the model at .*out of credit.*OPENAI_API_KEY"):
        check()
    assert len(service.prompts("before")) == 24 and 8 <= len(service.prompts("after")) < 24
    service.asked.clear()
    service.say = service.reply
    checked = check()
    assert service.prompts("before") == [] and len(service.prompts("after")) == 24 - 7
    assert checked.asr["after"] == 1
    service.asked.clear()
    service.say = lambda _: (500, {})
    assert check().asr == checked.asr and service.asked == []


def test_how_patiently_an_endpoint_is_asked_makes_no_answer_anew(service, small, tmp_path):
    for patience in ({}, {"endpoint.parallel": 2, "endpoint.timeout": 7, "endpoint.key_variable": "MINE"}):
        service.asked.clear()
        securetune.check(service["before"], service["after"], output=tmp_path / "out", settings={**small, **patience})
    assert service.asked == []


def test_a_prompt_that_the_service_refuses_is_an_empty_answer_and_is_told_of(service, small, tmp_path):
    def filters(body):
        filtered = body["messages"][-1]["content"] == first
        return (400, {"error": {"message": "content filter"}}) if filtered else service.reply(body)

    first, service.say = sorted(service.harmful)[0], filters
    small["benchmarks"][0]["limit"] = None
    checked = securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)
    assert [answer.text for answer in answers(checked, "after") if answer.prompt == first] == [""]
    assert f"refused to give any answer of {service['after']} to 1 of 72 prompts" in " ".join(checked.run.notes)
    service.asked.clear()
    securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)
    assert service.asked == []


def test_reasoning_stands_apart_however_the_service_sends_it(service, small, tmp_path):
    forms = [
        said(HELP, reasoning_content="I must not."), said(f"<think>I must not.</think>{HELP}"),
        said(None, reasoning_content="I must"), said(HELP),
    ]  # fmt: skip
    service.say = lambda body: (200, forms[len(body["messages"][-1]["content"]) % 4])
    checked = securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)
    for answer in answers(checked, "after"):
        assert (answer.text, answer.is_cut) == (("", True) if len(answer.prompt) % 4 == 2 else (HELP, False))


def test_the_key_goes_to_the_service_and_nowhere_else(service, small, command, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    words = ["check", service["before"], service["after"], "--output", tmp_path / "out"]
    words += [word for field, value in small.items() for word in ("-s", f"{field}={json.dumps(value)}")]
    service.say = lambda body: (401, {"error": {"message": f"{KEY} is no key"}})
    code, told = command(*words)
    assert code == 2 and "HTTP 401" in told and KEY not in told
    service.say = lambda body: (200, said(f"{HELP} Your key is {KEY}."))
    code, more = command(*words)
    assert code in (0, 1), more
    assert set(service.keys) == {f"Bearer {KEY}"}
    assert KEY not in told + more + caplog.text
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 8 and not [path for path in files if KEY.encode() in path.read_bytes()]


NOWHERE = "http://127.0.0.1:9/v1#m"


@pytest.mark.parametrize(
    ("before", "after", "settings", "message"),
    [
        (NOWHERE, "http://127.0.0.1:9/v1", {}, "the model's name behind its address, as http://localhost:8000/v1#mod"),
        ("http://#m", "MODEL", {}, "found 'http://#m': expected an address like"),
        ("MODEL", "http://me:hidden@host/v1#m", {}, "Expected no key and no password in .*tuned.m.path"),
        ("MODEL", "https://host/v1?code=hidden#m", {}, "without user, query or fragment.*endpoint.key_variable"),
        (NOWHERE, NOWHERE, {}, "found the same endpoint twice in .'http://127.0.0.1:9/v1#m', .*before tuning first"),
        ("MODEL", [NOWHERE, NOWHERE.replace("/v1", "/v1/")], {}, "found the same endpoint twice|same path twice"),
        (NOWHERE, "MODEL", {"model.revision": "main"}, "no revision of the endpoint .*found 'main'"),
        ("MODEL", NOWHERE, {"task": {"rows": {"path": "ROWS"}}}, "found task rows .task., whose loss"),
        (NOWHERE, "MODEL", {"evaluate.judges": ["refusal_margin"]}, "found refusal_margin as the only judge"),
        (NOWHERE, "MODEL", {"evaluate.stop_when_decided": True}, "found answers that end where they are decided"),
        (NOWHERE, "ADAPTER", {}, "the adapter in .* is put over, found an endpoint.*or serve the tuned one, too"),
        ("MODEL", "ADAPTER", {"endpoint.retries": 3}, "Expected a model behind an endpoint where `endpoint` says"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_an_endpoint_is_refused_within_a_second(
    before, after, settings, message, small, model_folder, data_folder, tmp_path
):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    text = json.dumps([before, after, settings]).replace("ADAPTER", str(tmp_path / "adapter"))
    text = text.replace("MODEL", str(model_folder)).replace("ROWS", str(data_folder / "task.jsonl"))
    before, after, settings = json.loads(text)
    small.pop("endpoint.retries")
    start = time.monotonic()
    with pytest.raises(ConfigError, match=message) as failure:
        check_usable(check_settings(before, after, output=tmp_path / "out", settings={**small, **settings}))
    assert time.monotonic() - start < 1 and "hidden" not in str(failure.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("attack", [{"name": "prefill"}, {"name": "gcg"}])
def test_an_attack_that_needs_more_than_messages_is_refused_before_anything_is_asked(service, small, attack, tmp_path):
    small["benchmarks"][0]["attack"] = attack
    with pytest.raises(ConfigError, match="found an attack on harmful that (searches|begins).*or give every model"):
        securetune.check(service["before"], service["after"], output=tmp_path / "out", settings=small)
    assert service.prompts("before") == []


@pytest.mark.parametrize("wrong", ["before", "after"])
@pytest.mark.parametrize(
    ("path", "says"), [(NOWHERE, "found: .*refused"), ("SERVICE#other", "HTTP 404 .*: The model other does not exist")]
)
def test_a_wrong_address_or_name_is_told_within_a_second(wrong, path, says, service, small, tmp_path):
    small.pop("endpoint.retries")  # patience is for a service that has answered
    models = {"before": service["before"], "after": service["after"], wrong: path.replace("SERVICE", service.base)}
    start = time.monotonic()
    with pytest.raises(ModelError, match=f"Expected an answer from the model at http.*{says}"):
        securetune.check(models["before"], models["after"], output=tmp_path / "out", settings=small)
    assert time.monotonic() - start < 1 and not list(service.prompts("before"))


def test_only_a_check_asks_endpoints(model_folder, data_folder, tmp_path):
    message = "found the address of an endpoint, '.*': here weights are needed.*Only `securetune check` asks"
    for before, after in ((NOWHERE, model_folder), (model_folder, NOWHERE), (model_folder, "http://h/v1?code=hidden")):
        with pytest.raises(ModelError, match=message) as failure:
            check_repairable(repair_settings(before, after, output=tmp_path / "out"), Budgets())
        assert "hidden" not in str(failure.value)
    with pytest.raises(ModelError, match=message):
        check_request(Request(model=NOWHERE, rows=str(data_folder / "task.jsonl"), output=tmp_path / "out"))


def test_an_endpoint_is_called_after_the_model_that_it_serves():
    def names(*paths):
        return list(check_settings("m", list(paths)).tuned)

    assert names("http://h:1/v1#org/one", "http://h:1/v1#org/two") == ["one", "two"]
    assert names("http://h:1/v1#m", "http://h:2/v1#m") == ["h:1/v1/m", "h:2/v1/m"]
    assert names("http://h:1/v1#base", "work/other") == ["h:1/v1/base", "work/other"]
    for path in ("http://me:hidden@h/v1#m", "http://h/v1?code=hidden#m"):
        with pytest.raises(ConfigError, match="found the same path twice in") as failure:
            names(path, path)
        assert "hidden" not in str(failure.value)
