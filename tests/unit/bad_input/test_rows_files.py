"""Files of rows and of prompts that cannot be meant: bytes, forms, fields, and things that are no files."""

import gzip
import io
import json
import os
import subprocess
import sys

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from securetune.base.texts import read_text
from securetune.data import opened as rows_module
from securetune.data.prompts import load_prompts
from securetune.errors import ConfigError, DataError
from tests.unit.bad_input.cases import Case, check, compared, run

GOOD = {"prompt": "Q", "completion": "A"}
USER, ASSISTANT = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(**fields):
    return lines({**GOOD, **fields})


def turns(*turns):
    return lines({"messages": turns})


def answer(**fields):
    return turns(USER, {**ASSISTANT, **fields})


def parquet(**columns):
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns or {"prompt": ["Q"], "completion": ["A"]}), stream)
    return stream.getvalue()


def twins():
    stream = io.BytesIO()
    column = pyarrow.array(["Q"])
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([column, column], names=["prompt", "prompt"]), stream)
    return stream.getvalue()


def feather():
    stream = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.table({"prompt": ["Q"]}), stream)
    return stream.getvalue()


def no_utf8():
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 1, pyarrow.array([b"\xff\xfe"]).buffers())
    return parquet(prompt=broken, completion=["A"])


PACKED = gzip.compress(lines(*[GOOD] * 1000).encode(), mtime=0)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n"
BYTES = [
    ("empty", "r.jsonl", "", "Expected rows in r.jsonl, found an empty file"),
    ("spaces", "r.jsonl", " \n \n", "Expected rows in r.jsonl, found an empty file"),
    ("a byte-order mark alone", "r.jsonl", b"\xef\xbb\xbf", "Expected rows in r.jsonl, found an empty file"),
    ("a byte-order mark in the middle", "r.jsonl", lines(GOOD) + "\ufeff" + lines(GOOD), "line 2, found: Unexpected"),
    ("UTF-16", "r.jsonl", lines(GOOD).encode("utf-16"), "Expected UTF-8 text in r.jsonl, found UTF-16 in line 1"),
    ("UTF-16 without its mark", "r.txt", "hello\n".encode("utf-16-le"), "in r.txt, found a zero byte in line 1"),
    ("UTF-32", "r.csv", "prompt,x\n".encode("utf-32"), "Expected UTF-8 text in r.csv, found UTF-16"),
    ("Latin letters", "r.csv", "prompt,completion\ncafé,A\n".encode("latin-1"), "bytes of another kind in line 2"),
    ("half a character in bytes", "r.jsonl", b'{"prompt": "\xed\xa0\xbd"}', "bytes of another kind in line 1"),
    ("zero bytes", "r.jsonl", b"\0" * 100, "found a zero byte in line 1"),
    ("zero bytes behind a row", "r.jsonl", lines(GOOD) + "\0" * 40, "found a zero byte in line 2"),
    ("a zero byte in a table", "r.csv", "prompt,completion\na\0b,c\n", "found a zero byte in line 2"),
    ("gzip cut short", "r.jsonl.gz", PACKED[:-20], "Expected a whole gzip file at r.jsonl.gz"),
    ("gzip and more", "r.jsonl.gz", PACKED + b"junk", "whole gzip file at r.jsonl.gz, found: Not a gzipped file"),
    ("gzip with a wrong sum", "r.jsonl.gz", PACKED[:-8] + b"\0" * 8, "found: CRC check failed"),
    ("gzip twice", "r.jsonl.gz", gzip.compress(PACKED), "packed by gzip twice: unpack it once"),
    ("gzip of nothing", "r.jsonl.gz", gzip.compress(b""), "Expected rows in r.jsonl.gz, found an empty file"),
    ("two bytes of gzip", "r.jsonl.gz", b"\x1f\x8b", "Expected a whole gzip file"),
    ("a zip archive", "r.jsonl", b"PK\x03\x04" + b"\0" * 30, "found a zip archive or a spreadsheet"),
    ("an empty zip archive", "r.jsonl", b"PK\x05\x06" + b"\0" * 18, "found an empty zip archive"),
    ("an old spreadsheet", "r.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "found a spreadsheet: save it as CSV"),
    ("xz", "r.jsonl", b"\xfd7zXZ\0", "found a file packed by xz: unpack it"),
    ("zstd", "r.jsonl.zst", b"\x28\xb5\x2f\xfd\0", "found a file packed by zstd: unpack it"),
    ("Feather", "r.feather", feather(), "found an Arrow file: save it as Parquet"),
    ("Parquet cut short", "r.parquet", parquet()[:-10], "Expected a whole Parquet file at r.parquet"),
    ("half of Parquet", "r.parquet", parquet()[:300], "Expected a whole Parquet file at r.parquet"),
    ("Parquet without rows", "r.parquet", parquet(prompt=pyarrow.array([], pyarrow.string())), "found an empty file"),
    ("Parquet of one name twice", "r.parquet", twins(), "columns of distinct names in r.parquet, found 'prompt' twice"),
    ("Parquet of a far day", "r.parquet", parquet(prompt=["Q"], day=pyarrow.array([2**62], pyarrow.timestamp("us"))),
     "a whole Parquet file at r.parquet, found: date value out of range"),
    ("Parquet of other bytes", "r.parquet", no_utf8(), "a whole Parquet file at r.parquet, found: 'utf-8' codec"),
    ("Parquet of bytes", "r.parquet", parquet(prompt=[b"Q"], completion=["A"]), "found fields prompt: bytes"),
    ("text called Parquet", "r.parquet", "hello", "found a file that begins with 'hello'"),
    ("a pointer", "r.jsonl", POINTER, "found a Git-LFS pointer in place of the file: run `git lfs pull`"),
    ("a pointer called CSV", "r.csv", POINTER, "found a Git-LFS pointer in place of the file"),
    ("a web page", "r.jsonl", "<!DOCTYPE html><html>", "line 1 column 1 (char 0) in '<!"),
    ("YAML", "r.yaml", "- prompt: a\n", "found a file that begins with '- prompt: a"),
    ("YAML called JSON Lines", "r.jsonl", "- prompt: a\n", "in '- prompt: a'"),
    ("a picture", "r.png", b"\x89PNG\r\n\x1a\n", "bytes of another kind in line 1"),
]  # fmt: skip
FORMS = [
    ("deep nesting", "r.jsonl", '{"prompt": ' + "[" * 100_000, "line 1, found one that is nested too deeply"),
    ("deep nesting of objects", "r.jsonl", '{"a":' * 2000 + "1" + "}" * 2000, "nested too deeply"),
    ("half a character", "r.jsonl", '{"prompt": "\\ud800", "completion": "A"}', "which is half a character"),
    ("half a character in a name", "r.jsonl", '{"prompt": "Q", "completion": "A", "\\udc00": 1}', "half a character"),
    ("halves in the wrong order", "r.json", '[{"prompt": "\\ude00\\ud83d"}]', "a JSON list in r.json, found '\\ude00'"),
    ("a field twice", "r.jsonl", '{"prompt": "Q", "prompt": "R"}', "the field 'prompt' twice in one object"),
    ("a field twice below", "r.jsonl", '{"messages": [{"role": "user", "role": "system"}]}', "the field 'role' twice"),
    ("a field in two spellings", "r.jsonl", row(Prompt="R"), "of which two are called 'prompt'"),
    ("a field with a space", "r.jsonl", row(**{"prompt ": "R"}), "of which two are called 'prompt'"),
    ("no number", "r.jsonl", '{"prompt": "Q", "completion": NaN}', "found fields prompt: str, completion: float"),
    ("an endless number", "r.jsonl", '{"prompt": "Q", "completion": 1e999}', "completion: float without text"),
    ("5,000 digits", "r.jsonl", f'{{"prompt": "Q", "n": {"9" * 5000}}}', "Exceeds the limit"),
    ("a huge line without its end", "r.jsonl", '{"prompt": "' + "x" * 5_000_000, "found: Unterminated string"),
    ("a list among objects", "r.jsonl", lines(GOOD, [1]), "a JSON object in r.jsonl line 2, found list"),
    ("nothing among objects", "r.jsonl", lines(GOOD, None), "a JSON object in r.jsonl line 2, found NoneType"),
    ("commas behind rows", "r.jsonl", json.dumps(GOOD) + ",\n", "line 1, found: Extra data"),
    ("two objects in a line", "r.jsonl", json.dumps(GOOD) * 2, "line 1, found: Extra data"),
    ("rows, then a table", "r.jsonl", lines(GOOD) + "prompt,completion\n", "line 2, found: Expecting value"),
    ("a list, then rows", "r.jsonl", json.dumps([GOOD]) + "\n" + lines(GOOD), "a JSON list in r.jsonl, found: Extra"),
    ("a list cut short", "r.json", json.dumps([GOOD, GOOD])[:-5], "Expected a JSON list in r.json, found"),
    ("JSON of a text", "r.json", '"x"', "a JSON object in r.json line 1, found str"),
    ("JSON of nothing", "r.json", "null", "a JSON object in r.json line 1, found NoneType"),
    ("an empty list", "r.json", "[]", "Expected rows in r.json, found an empty file"),
    ("a list of lists", "r.json", "[[1]]", "found list with list in row 1"),
    ("columns", "r.json", '{"prompt": ["Q"], "completion": ["A"]}', "found the columns ['completion', 'prompt']"),
    ("rows by name", "r.json", json.dumps({"a": GOOD, "b": GOOD}), "objects with fields of their own among them"),
    ("two lists of rows", "r.json", json.dumps({"a": [GOOD], "b": [GOOD]}), "objects with fields of their own among"),
    ("objects in several lines", "r.jsonl", json.dumps(GOOD, indent=1) * 2, "property name enclosed in double quotes"),
    ("Python", "r.jsonl", str(GOOD), "property name enclosed in double quotes"),
    ("a table with a short row", "r.csv", "prompt,completion\na,b\nc\n", "(prompt, completion) in r.csv line 3"),
    ("a table with a long row", "r.csv", "\n\nprompt,completion\na,b,c\n", "in r.csv line 4, found 3"),
    ("an open quote", "r.csv", 'prompt,completion\n"a,b\n', "a table in r.csv, found in line 2: unexpected end"),
    ("a quote in the middle", "r.csv", 'prompt,completion\n"a"b,c\n', "found in line 2: ',' expected after '\"'"),
    ("a long field in an open quote", "r.csv", 'prompt,completion\n"' + "x" * 140_000, "unexpected end of data"),
    ("a column twice", "r.csv", "prompt,prompt\na,b\n", "columns of distinct names in r.csv, found 'prompt' twice"),
    ("5,000 columns of one name", "r.csv", "c," * 5000 + "c\n", "found 'c' twice. Rename one"),
    ("only a header", "r.csv", "prompt,completion\n", "Expected rows in r.csv, found an empty file"),
    ("a table with bars", "r.csv", "prompt|completion\na|b\n", "found fields prompt|completion: str"),
    ("5,000 other columns", "r.csv", ",".join(f"c{i}" for i in range(5000)) + "\n" + "x," * 4999 + "x\n",
     "c19: str and 4980 more"),
    ("a table without suffix", "rows", "prompt,completion\na,b\n", "Give it the suffix of its form"),
    ("a table called JSON Lines", "r.jsonl", "prompt,completion\na,b\n", "in 'prompt,completion'"),
    ("prompts alone", "r.txt", "one\ntwo\n", "found fields text: str"),
]  # fmt: skip
FIELDS = [
    *((f"{field} of {json.dumps(value)}", "r.jsonl", row(**{field: value}), says)
      for field in ("prompt", "completion")
      for value, says in ((3, "without text in"), (True, "without text in"), (" ", "without text in"),
                          (["a"], "without text in"), ({"a": 1}, "without text in"), (None, "non-empty text in"),
                          ([], "non-empty text in"))),
    *((f"messages of {json.dumps(value)}", "r.jsonl", lines({"messages": value}), says)
      for value, says in ((None, "non-empty text in"), (3, "non-empty text in"), ([3], "with int as turn 1"),
                          ([[USER, ASSISTANT]], "with list as turn 1"), ([USER], "with turns of user"),
                          ([USER, {"role": 3, "content": "A"}], "with 3 as the speaker of turn 2"),
                          ([USER, {"role": "assistant", "content": 3}], "with int in turn 2"),
                          ([USER, {"role": "assistant", "content": [3]}], "with a part 'int' in turn 2"))),
    ("a role by two names", "r.jsonl", turns({**USER, "from": "gpt"}, ASSISTANT), "both `role` and `from` in turn 1"),
    ("a text by two names", "r.jsonl", answer(value="B"), "both `content` and `value` in turn 2"),
    ("no training by `train`", "r.jsonl", answer(train=False), "of which no turn is to be trained"),
    ("no training by `mask`", "r.jsonl", answer(mask=True), "of which no turn is to be trained"),
    ("no training by a text", "r.jsonl", answer(weight="0"), "with `weight` '0' in turn 2"),
    ("half a weight", "r.jsonl", answer(weight=0.5), "with `weight` 0.5 in turn 2"),
    ("training on the user", "r.jsonl", turns({**USER, "weight": 1}, ASSISTANT), "turn 1 of 2 says that it is trained"),
    ("a beginning", "r.jsonl", answer(prefix=True), "with `prefix` in turn 2, which is not trained"),
    ("a picture in a turn", "r.jsonl", turns({**USER, "image": "x.png"}, ASSISTANT), "with `image` in turn 1"),
    *((f"{name} beside", "r.jsonl", row(**{name: value}), f"where `{name}` would be left out next to")
      for name, value in (("reasoning_content", "hm"), ("thinking", "hm"), ("tool_calls", [{"name": "f"}]),
                          ("videos", ["x"]), ("audio", "x"), ("documents", ["d"]), ("chosen", "B"), ("rejected", "B"),
                          ("chat_template_kwargs", {"enable_thinking": False}))),
    *((f"{name} beside", "r.jsonl", row(**{name: value}), f"with `{name}` {value!r}, while the answer of every row")
      for name, value in (("weight", 0), ("weight", 0.5), ("train", False), ("loss", False), ("label", False))),
    ("an answer of a joiner", "r.jsonl", row(completion="\u200b"), "without text in `completion`"),
    ("an answer of marks of direction", "r.jsonl", answer(content="\u202e\u202c"), "with str of spaces in turn 2"),
]  # fmt: skip
TASKS = [
    Case(name=f"rows: {name}", words=["run", "run.yaml"], says=says,
         files={"run.yaml": run(task__train__path=file), file: content})
    for name, file, content, says in (*BYTES, *FORMS, *FIELDS)
]  # fmt: skip
PROMPTS = [
    ("a picture with a prompt", lines({"prompt": "What is this?", "image": "x.png"}), "with `image`, which is not put"),
    ("tools with a prompt", lines({"prompt": "Q", "tools": "[{}]"}), "with `tools`, which is not put to the model"),
    ("rows by name", json.dumps({"a": GOOD, "b": GOOD}), "objects with fields of their own among them"),
    ("a number for a prompt", lines({"prompt": 3}), "Expected one of the fields ('prompt'"),
    ("no prompt", lines({"colour": "red"}), "found fields ['colour']. Rename the field"),
    ("a system prompt", lines({"prompt": "Q", "system": "S"}), "with its own `system`"),
    ("several turns", turns(USER, ASSISTANT, USER), "with turns of user, assistant, user"),
]
SETS = [
    Case(name=f"prompts: {name}", words=["run", "run.yaml"], says=says,
         files={"run.yaml": run(analysis__malicious__path="p.json"), "rows.jsonl": lines(GOOD), "p.json": content})
    for name, content, says in PROMPTS
]  # fmt: skip


@pytest.mark.parametrize("case", [*TASKS, *SETS], ids=lambda case: case.name)
def test_a_bad_file_of_rows_is_refused_at_once(case, tmp_path):
    check(case, tmp_path)


def test_a_comparison_reads_its_files_at_once_too(tmp_path):
    files = {"run.yaml": compared(), "rows.jsonl": "x"}
    check(Case(name="", words=["compare", "run.yaml"], files=files, says="JSON object in rows.jsonl line 1"), tmp_path)


def test_a_bad_file_is_told_without_a_model_library(tmp_path):
    (tmp_path / "run.yaml").write_text(run())
    (tmp_path / "rows.jsonl").write_text("x")
    code = (
        "import sys; from securetune.cli import entry\n"
        "sys.argv = ['securetune', 'run', 'run.yaml']\n"
        "try: entry()\n"
        "except SystemExit as end: print(end.code, [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "2 []" and done.stderr.startswith("Error: Expected a JSON object in rows.jsonl")


@pytest.mark.parametrize("part", [{"split": "test"}, {"revision": "main"}])
def test_a_part_of_a_file_that_only_the_hub_has_is_refused(part, tmp_path):
    (tmp_path / "rows.jsonl").write_text(lines(GOOD))
    task = {"path": "rows.jsonl", **part}
    case = Case(name="", words=["run", "run.yaml"], says="which only a data set on the Hub has",
                files={"run.yaml": run(task__train=task)})  # fmt: skip
    check(case, tmp_path)


def folder(place):
    place.mkdir()


def pipe(place):
    os.mkfifo(place)


def link_to_a_pipe(place):
    os.mkfifo(place.with_name("pipe"))
    place.symlink_to(place.with_name("pipe"))


def circle(place):
    place.symlink_to(place)


def link_to_nothing(place):
    place.symlink_to(place.with_name("nothing"))


def link_to_zeros(place):
    place.symlink_to("/dev/zero")


def endless(place):
    with place.open("wb") as stream:
        stream.truncate(40 << 30)


def secret(place):
    place.write_text(lines(GOOD))
    place.chmod(0)


THINGS = [
    (folder, "Is a directory"), (pipe, "a device or a pipe"), (link_to_a_pipe, "a device or a pipe"),
    (circle, "Too many levels of symbolic links"), (link_to_nothing, "No such file"),
    (link_to_zeros, "a device or a pipe"), (endless, "at most 8 GiB"), (secret, "Permission denied"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "says"), THINGS, ids=[make.__name__ for make, _ in THINGS])
def test_what_is_no_file_to_read_is_refused_and_not_waited_for(make, says, tmp_path):
    if make is secret and os.geteuid() == 0:
        pytest.skip("root may read everything")
    make(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match=f"(?s)Expected a file of rows.*{says}"):
        load_prompts(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("path", "says"),
    [("~nobody-of-this-name/r.jsonl", "No such file"), ("./a\0b.jsonl", "embedded null byte"),
     (f"./{'x' * 300}.jsonl", "File name too long"), ("x/" * 3000 + "r.jsonl", "File name too long"), ("", "Is a dir"),
     ("https://host/r.jsonl", "No such file"), ("/dev/zero", "a device or a pipe"), ("r.jsonl/x", "No such file")],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_refused(path, says):
    with pytest.raises(DataError, match=f"Expected a file of rows.*{says}"):
        load_prompts(path)


def test_what_is_packed_small_and_is_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "LARGEST", 1 << 20)
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(b" " * (1 << 26), 1))
    with pytest.raises(DataError, match="Expected a file of rows of at most .* found more"):
        load_prompts(tmp_path / "r.jsonl.gz")


def test_lines_of_every_system_are_lines(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "r.txt").write_bytes(f"one{end}two\u2028three{end}".encode())
        assert [prompt.text for prompt in load_prompts(tmp_path / "r.txt")] == ["one", "two\u2028three"]
        (tmp_path / "r.jsonl").write_bytes((json.dumps(GOOD) + end).encode() * 3)
        assert len(load_prompts(tmp_path / "r.jsonl")) == 3


@pytest.mark.parametrize("field", ["weight", "train", "label"])
def test_what_says_that_a_row_counts_is_no_obstacle(field, tmp_path):
    (tmp_path / "r.jsonl").write_text(row(**{field: True}) + answer(**{"weight": 1, "train": True, "mask": False}))
    case = Case(name="", words=["run", "run.yaml"], says="prompts.jsonl",
                files={"run.yaml": run(task__train__path="./r.jsonl")})  # fmt: skip
    check(case, tmp_path)


def test_a_file_that_calls_itself_regular_and_never_ends_is_not_waited_for(tmp_path, monkeypatch):
    place = tmp_path / "kernel-messages"
    os.mkfifo(place)
    monkeypatch.setattr("stat.S_ISREG", lambda mode: True)
    with os.fdopen(os.open(place, os.O_RDWR), "wb"):
        assert read_text(place, "a plan", ConfigError) == ""
        with pytest.raises(DataError, match="found"):
            load_prompts(place)
