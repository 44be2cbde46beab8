"""Rows: files are read in the form in which their authors ship them."""

import csv
import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.data.prompts import load_prompts
from securetune.data.rows import read_rows
from securetune.errors import DataError
from securetune.evaluate.benchmarks import BENCHMARKS
from tests.conftest import write_jsonl

ROWS = [{"goal": 'Say "hi", twice', "target": "Sure"}, {"goal": "Sing\nloud", "target": "Sure"}]


def jsonl(path):
    write_jsonl(path, ROWS)


def json_list(path):
    path.write_text(json.dumps(ROWS, indent=2))


def json_object(path):
    path.write_text(json.dumps({"data": ROWS}, indent=2))


def table(path):
    delimiter = {".csv": ",", ".tsv": "\t"}[path.suffix]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["goal", "target"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def excel_table(path):
    table(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b",target", b";target").replace(b",Sure", b";Sure"))


def parquet(path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


FORMS = [
    ("p.jsonl", jsonl),
    ("p.json", jsonl),
    ("p", jsonl),
    ("p.txt", jsonl),
    ("p.json", json_list),
    ("p.jsonl", json_list),
    ("p.json", json_object),
    ("p.csv", table),
    ("p.tsv", table),
    ("p.csv", excel_table),
    ("p.parquet", parquet),
    ("p", parquet),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "write"), FORMS)
def test_every_form_gives_the_same_prompts(name, write, packed, tmp_path):
    path = tmp_path / name
    write(path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path = path.rename(tmp_path / f"{name}.gz")
    assert [prompt.text for prompt in load_prompts(path)] == [row["goal"] for row in ROWS]


def test_a_text_file_has_one_prompt_a_line(tmp_path):
    (tmp_path / "p.txt").write_text("[INST] first\n\n  second: {x}\u2028y\r\n")
    prompts = load_prompts(tmp_path / "p.txt")
    assert [prompt.text for prompt in prompts] == ["[INST] first", "second: {x}\u2028y"]
    assert [prompt.id for prompt in prompts] == ["p_1", "p_3"]


@pytest.mark.parametrize(
    "whole",
    [{"instructions": ["a", "b", "c"], "inputs": []}, {"One": {"x": ["a"], "y": ["b"]}, "Two": {"z": ["c"]}}],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_prompts_may_be_grouped_in_one_object(whole, indent, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(whole, indent=indent))
    assert [prompt.text for prompt in load_prompts(tmp_path / "p.json")] == ["a", "b", "c"]


def test_rows_may_stand_beside_what_is_said_of_them(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"version": 1, "about": "x", "data": ROWS}))
    assert [prompt.text for prompt in load_prompts(tmp_path / "p.json")] == [row["goal"] for row in ROWS]


def test_one_row_alone_is_a_row(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"turns": ["a", "b"]}, indent=1))
    (tmp_path / "q.jsonl").write_text(json.dumps({"turns": ["a", "b"]}))
    assert [p.text for name in ("p.json", "q.jsonl") for p in load_prompts(tmp_path / name)] == ["a", "a"]


@pytest.mark.parametrize(
    "field",
    ["goal", "Goal", "Behavior", "forbidden_prompt", "prompts_final", "prompt", "Prompt", "question", "Question"],
)
def test_the_columns_of_public_sets_are_prompts(field, tmp_path):
    (tmp_path / "p.csv").write_text(f"id,{field},Category\n7,Do it,x\n")
    assert [(prompt.id, prompt.text) for prompt in load_prompts(tmp_path / "p.csv")] == [("7", "Do it")]


@pytest.mark.parametrize("name", BENCHMARKS.names())
@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_registered_set_is_read_as_its_authors_ship_it(name, suffix, tmp_path):
    source = BENCHMARKS.get(name)
    fixture = [dict(row) for row in source.fixture]
    path = (tmp_path / source.file).with_suffix(suffix)
    if suffix == ".csv" and any(isinstance(value, list) for row in fixture for value in row.values()):
        pytest.skip("a table has no lists")
    if suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(fixture[0]))
            writer.writeheader()
            writer.writerows(fixture)
    elif suffix == ".json":
        path.write_text(json.dumps(fixture))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(fixture), path)
    expected = [(prompt.text, prompt.reference) for prompt in source.prompts(fixture)]
    assert [(prompt.text, prompt.reference) for prompt in source.load(str(path))] == expected
    assert [(prompt.text, prompt.reference) for prompt in source.load(str(tmp_path))] == expected


def test_a_folder_may_hold_a_set_under_its_authors_name(tmp_path):
    (tmp_path / "MaliciousInstruct.txt").write_text("One?\nTwo?\n")
    assert [p.text for p in BENCHMARKS.get("maliciousinstruct").load(str(tmp_path))] == ["One?", "Two?"]


def test_a_behaviour_stands_below_its_context_as_its_authors_put_it(tmp_path):
    (tmp_path / "p.csv").write_text("Behavior,ContextString\nSum it up,The text\nSing,\n")
    assert [p.text for p in load_prompts(tmp_path / "p.csv")] == ["The text\n\n---\n\nSum it up", "Sing"]


BROKEN = [
    ("p.jsonl", b'{"prompt": "a"}\n' + b"[" * 200_000 + b"\n", r"p\.jsonl line 2, found one that is nested too deeply"),
    ("p.json", b"[" * 200_000, r"p\.json, found one that is nested too deeply"),
    ("p.jsonl", b'{"prompt": "a"}\n{"prompt": "\\ud83d"}', r"p\.jsonl line 2, found '\\ud83d' alone.*surrogate"),
    ("p.jsonl", b'{"prompt": "a"}\n{"prompt": "\xed\xa0\xbd"}', r"UTF-8 text in .*p\.jsonl.* line 2"),
    ("p.jsonl", '{"prompt": "a"}'.encode("utf-16"), r"UTF-8 text in .*p\.jsonl"),
    ("p.jsonl", b"version https://git-lfs.github.com/spec/v1\noid x", "found a Git-LFS pointer.*git lfs pull"),
    ("p.xlsx", b"PK\x03\x04", "found a zip archive or a spreadsheet.*save it as CSV"),
    ("p.jsonl.gz", gzip.compress(b"x" * 99, mtime=0)[:-12], r"whole gzip file at .*p\.jsonl\.gz.*Copy it again"),
    ("p.parquet", b"PAR1 and then nothing", r"whole Parquet file at .*p\.parquet.*Copy it again"),
    ("p.csv", b"prompt,x\na,b\nc\n", r"2 fields \(prompt, x\) in .*p\.csv line 3, found 1"),
    ("p.csv", b"prompt,x\na,b,c\n", r"2 fields \(prompt, x\) in .*p\.csv line 2, found 3"),
    ("p.csv", b'prompt,x\na,"b\nc\n', r"a table in .*p\.csv, found in line 3: unexpected end"),
    ("p.csv", b"prompt,prompt\na,b\n", "columns of distinct names"),
    ("p.csv", b"prompt,x\n", "found an empty file"),
    ("p.txt", b"\n", "found an empty file"),
    ("p.dat", b"hello", "found a file that begins with 'hello'"),
    ("p.json", b'["a", 3]', "found list with int in row 2"),
    ("p.json", b'{"prompt": ["a"], "label": ["b"]}', r"found the columns \['label', 'prompt'\]"),
    ("p.json", b'{"a": [["b", 3]], "c": ["d"]}', "lists of prompts .* found int among them"),
    ("p.jsonl", b'{"prompt": "a"}\n{"prompt": "b", "prompt": "c"}', "line 2, found: the field 'prompt' twice"),
    ("p.jsonl", b'{"prompt": ["a", "b"]}', "with str as turn 1"),
    ("p.jsonl", b'{"prompt": "a", "Prompt": "b"}', "of which two are called 'prompt'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_a_file_that_cannot_be_read_says_where_and_what_to_do(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_prompts(tmp_path / name)


def test_a_long_field_is_read_and_the_limit_of_everybody_else_is_kept(tmp_path):
    before = csv.field_size_limit()
    (tmp_path / "p.csv").write_text("prompt,x\n" + "a" * 200_000 + ",b\n")
    assert [len(row.fields["prompt"]) for row in read_rows(tmp_path / "p.csv")] == [200_000]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    "name",
    [
        "rows.jsonl",
        "rows.parquet",
        "rows.csv.gz",
        "rows.txt",
        "a/b/c",
        "./rows",
        "~/rows",
        "a\\b",
        "here/rows",
        "rows.zst",
    ],
)
def test_what_is_written_like_a_path_is_never_asked_of_the_hub(name, tmp_path, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("datasets.load_dataset", asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match=r"Expected a file of rows at .*, found: No such file.*Check the path"):
        load_examples(DataConfig(path=name), seed=0)
    with pytest.raises(DataError, match="called 'somebody/rows' on the Hub, found: the Hub was asked"):
        load_examples(DataConfig(path="somebody/rows"), seed=0)


def test_a_file_in_the_home_folder_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_jsonl(tmp_path / "d.jsonl", [{"prompt": "Q", "completion": "A"}])
    assert len(load_examples(DataConfig(path="~/d.jsonl"), seed=0)) == 1


def test_rows_to_tune_on_come_from_tables_too_and_are_skipped_there(tmp_path):
    (tmp_path / "d.csv").write_text("instruction,input,output,bad\nQ,x,A,False\nR,,B,True\n")
    config = DataConfig(path=str(tmp_path / "d.csv"), skip={"bad": True})
    examples = load_examples(config, seed=0)
    assert [example["prompt"][0]["content"] for example in examples] == ["Q\n\nx"]
    with pytest.raises(DataError, match=r"field 'bda' of `skip` in the rows of .*d\.csv, found fields \['bad'"):
        load_examples(config.model_copy(update={"skip": {"bda": True}}), seed=0)


def example_texts(path, **settings):
    return [row["prompt"][0]["content"] for row in load_examples(DataConfig(path=str(path), **settings), seed=0)]


def test_a_folder_is_read_file_by_file(tmp_path):
    for name, asked in (("b.jsonl", "2"), ("a.jsonl", "1"), ("more/c.jsonl", "3"), (".cache/d.jsonl", "4")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / name, [{"prompt": asked, "completion": "A"}])
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / "README.md").write_text("About it")
    assert example_texts(tmp_path) == ["1", "2", "3"]


def test_of_a_folder_with_splits_one_is_read(tmp_path):
    for name, asked in (("data/train-00001-of-00002.jsonl", "2"), ("data/train-00000-of-00002.jsonl", "1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / name, [{"prompt": asked, "completion": "A"}])
    (tmp_path / "dev").mkdir()
    write_jsonl(tmp_path / "dev/x.jsonl", [{"prompt": "3", "completion": "A"}])
    assert example_texts(tmp_path) == ["1", "2"]
    assert example_texts(tmp_path, split="validation") == example_texts(tmp_path, split="dev") == ["3"]
    write_jsonl(tmp_path / "more.jsonl", [{"prompt": "4", "completion": "A"}])
    with pytest.raises(DataError, match=r"to name its split, as some do, found 'more.jsonl'"):
        example_texts(tmp_path)
    (tmp_path / "more.jsonl").unlink()
    with pytest.raises(DataError, match=r"split 'test' in the folder .*found those of \['train', 'validation'\]"):
        example_texts(tmp_path, split="test")


def test_a_folder_without_rows_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("About it")
    with pytest.raises(DataError, match=r"Expected files of rows in the folder .*found none that ends in \.jsonl"):
        example_texts(tmp_path)


def test_a_data_set_that_was_saved_to_disk_is_read(tmp_path):
    from datasets import Dataset, DatasetDict

    sets = {name: Dataset.from_list([{"prompt": name, "completion": "A"}]) for name in ("train", "test")}
    sets["train"].save_to_disk(tmp_path / "one")
    DatasetDict(sets).save_to_disk(tmp_path / "two")
    assert example_texts(tmp_path / "one") == ["train"] and example_texts(tmp_path / "two", split="test") == ["test"]
    with pytest.raises(DataError, match=r"Expected the split 'dev' in the folder .*found \['test', 'train'\]"):
        example_texts(tmp_path / "two", split="dev")
    (tmp_path / "one/state.json").write_text("{")
    with pytest.raises(DataError, match="Expected a data set that `save_to_disk` has written"):
        example_texts(tmp_path / "one")
