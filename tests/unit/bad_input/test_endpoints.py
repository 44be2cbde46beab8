"""Judge endpoints that misbehave, and model folders that are none: an error of ours, in time, without the key."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from securetune.errors import ModelError
from securetune.evaluate.answers import Answer
from securetune.evaluate.judges import JUDGES
from securetune.models.identity import check_folder

KEY = "canary-0123456789"
ANSWER = Answer(prompt="How?", text="So.")
NO_JSON = {"empty": b"", "a page": b"<html>busy</html>", "cut short": b'{"choices": [', "other bytes": b"\xff\xfe\x00"}
NO_MESSAGE = {
    "null": b"null", "a list": b"[]", "a number": b"3", "no choices": b"{}", "empty choices": b'{"choices": []}',
    "null choices": b'{"choices": null}', "no message": b'{"choices": [{}]}',
    "a text as message": b'{"choices": [{"message": "x"}]}', "blank": b'{"choices": [{"message": {"content": " "}}]}',
    "a number as content": b'{"choices": [{"message": {"content": 5}}]}',
    "an error": f'{{"error": {{"message": "{KEY} is no key"}}}}'.encode(),
}  # fmt: skip
OF_THE_SERVICE = (301, 401, 403, 404, 418, 429, 500, 503)
OF_THE_ANSWER = (400, 413, 422, 451)


@pytest.fixture
def serve():
    """A server with one answer; it repeats the caller's key in its reason."""
    servers = []

    def start(body=b"", code=200):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_response(code, f"said {self.headers['Authorization']}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def judge_at(endpoint, monkeypatch):
    monkeypatch.setenv("OF_THE_JUDGE", KEY)
    asking = {
        "endpoint": endpoint,
        "model": "m",
        "key_variable": "OF_THE_JUDGE",
        "retries": 0,
        "repeats": 0,
        "timeout": 2,
    }
    return JUDGES.make("strong_reject", asking, "judge")


def fails(judge):
    """Both the trial and the judging end in a line of ours that does not hold the key."""
    for ask in (judge.check, lambda: judge.judge([ANSWER])):
        with pytest.raises(ModelError, match="Expected an answer from the judge at") as failure:
            ask()
        assert "canary" not in str(failure.value)


def has_no_opinion(judge):
    """The trial says so, without the key; the answer is left without a verdict."""
    with pytest.raises(ModelError, match="Expected an answer from the judge at") as failure:
        judge.check()
    assert "canary" not in str(failure.value)
    assert judge.judge([ANSWER]) == [None]


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_a_reply_that_is_no_json_is_an_error_of_ours(body, serve, monkeypatch):
    fails(judge_at(serve(body), monkeypatch))


@pytest.mark.parametrize("body", NO_MESSAGE.values(), ids=NO_MESSAGE)
def test_a_reply_without_a_message_leaves_an_answer_without_a_verdict(body, serve, monkeypatch):
    has_no_opinion(judge_at(serve(body), monkeypatch))


@pytest.mark.parametrize("code", OF_THE_SERVICE)
def test_a_refusal_of_the_server_is_an_error_without_the_key(code, serve, monkeypatch):
    fails(judge_at(serve(KEY.encode(), code), monkeypatch))


@pytest.mark.parametrize("code", OF_THE_ANSWER)
def test_a_refusal_of_one_conversation_leaves_it_without_a_verdict(code, serve, monkeypatch):
    has_no_opinion(judge_at(serve(KEY.encode(), code), monkeypatch))


def test_an_address_without_a_server_is_an_error_of_ours(monkeypatch):
    fails(judge_at("http://127.0.0.1:9/v1", monkeypatch))


@pytest.mark.parametrize(
    ("path", "says"),
    [("./absent", "nothing there"), ("/dev/null/x", "nothing there"), ("~nobody-of-this-name/m", "nothing there"),
     ("./a/b/c", "nothing there"), (f"./{'x' * 300}", "nothing there")],
)  # fmt: skip
def test_a_model_folder_that_is_none_is_an_error_of_ours(path, says):
    with pytest.raises(ModelError, match=says):
        check_folder(path)
