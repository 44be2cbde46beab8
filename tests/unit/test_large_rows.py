"""Many rows: none of them is held, read twice or drawn otherwise than from a list."""

import csv
import json
import random
import tracemalloc

import pytest
from datasets import Dataset

from securetune.data.config import DataConfig
from securetune.data.drawn import Drawn
from securetune.data.examples import load_examples, load_source, replaced
from securetune.data.prompts import repeated
from securetune.data.rendering import check_rows
from securetune.data.rows import read_rows
from securetune.data.stored import store
from securetune.defences.safe_instr import mixed
from securetune.errors import DataError
from securetune.train.arrow import arrow_folder, arrow_rows, drop_stages
from tests.conftest import write_jsonl


def example(number):
    asked = {"role": "user", "content": f"Say the number {number} – twice"}
    return {"prompt": [asked], "completion": [{"role": "assistant", "content": f"{number} {number}\u2028"}]}


def rows_file(path, count):
    return str(write_jsonl(path, [{"prompt": f"Say {i}", "completion": f"{i} it is", "n": i} for i in range(count)]))


def test_rows_of_a_long_file_are_no_python_objects(tmp_path):
    path = rows_file(tmp_path / "rows.jsonl", 20_000)
    tracemalloc.start()
    loaded = load_source(DataConfig(path=path, skip={"n": 7}), seed=0, shuffled=True, folder=tmp_path)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (loaded.read, loaded.skipped, len(loaded.rows)) == (20_000, 1, 19_999)
    assert held < 30 * 20_000 and most < 100 * 20_000, "as dictionaries, a row takes a kilobyte"
    assert list(tmp_path.iterdir()) == [tmp_path / "rows.jsonl"], "what holds them has no name that a kill could leave"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows"])
def test_a_file_is_read_no_further_than_its_rows_are_asked_for(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\n" + b'{"prompt": "Say it"}\n' * 50_000 + b'{"prompt": "\xff"}\n')
    rows = read_rows(path)
    assert next(rows).number == 2
    with pytest.raises(DataError, match="in line 50002. Save the file as UTF-8"):
        list(rows)


def test_a_table_leaves_the_limit_of_its_module_alone_between_two_rows(tmp_path):
    (tmp_path / "p.csv").write_text(f"goal,target\n{'x' * 200_000},a\ny,b\n", encoding="utf-8")
    before, rows = csv.field_size_limit(), read_rows(tmp_path / "p.csv")
    assert len(next(rows).fields["goal"]) == 200_000 and csv.field_size_limit() == before
    (tmp_path / "old.csv").write_bytes(b"goal,target\rSing,a\rDance,b\r")
    assert [row.fields["goal"] for row in read_rows(tmp_path / "old.csv")] == ["Sing", "Dance"]


def test_a_bad_row_is_named_by_its_line_unless_skip_was_to_leave_it_out(tmp_path):
    raw = [
        {"prompt": "Say it", "completion": "It"},
        {"prompt": "", "bad": True},
        {"prompt": "And", "completion": "Yes"},
    ]
    path = str(write_jsonl(tmp_path / "rows.jsonl", raw))
    with pytest.raises(DataError, match="in .*rows.jsonl line 2, found fields prompt"):
        load_examples(DataConfig(path=path), seed=0)
    assert load_source(DataConfig(path=path, skip={"bad": True}), seed=0).skipped == 1
    with pytest.raises(
        DataError, match=r"Expected the field 'bda' of `skip` .* found fields \['completion', 'prompt'\]"
    ):
        load_examples(DataConfig(path=path, skip={"bda": True}), seed=0)


def test_a_source_is_read_once_by_a_run_that_checks_its_rows(tokenizer, tmp_path):
    path = rows_file(tmp_path / "rows.jsonl", 30)
    loaded = load_source(DataConfig(path=path, skip={"n": 3}), seed=0)
    (tmp_path / "rows.jsonl").unlink()
    found = check_rows(tokenizer, "rows", loaded.rows, max_length=64, loaded=loaded)
    assert (found.read, found.skipped, found.used) == (30, 1, 29)


def test_stored_rows_are_drawn_mixed_and_replaced_as_lists_are(tmp_path):
    listed = [example(i) for i in range(40)]
    stored, others = store(listed), [{"other": i} for i in range(3)]
    assert stored == listed and stored[-1] == listed[-1] and stored[5:30:2] == listed[5:30:2]
    assert stored != listed[:-1] and stored != [*listed[:-1], example(0)] and listed[:2] == stored[:2]
    assert stored[:2] + listed[3:4] == [*listed[:2], listed[3]]
    with pytest.raises(IndexError):
        stored[40]
    for count in (3, 40, 100):
        rng = random.Random(1)
        once = [row for _ in range(3) for row in rng.sample(listed, 40)][:count]
        assert repeated(stored, count, random.Random(1)) == once
    rng = random.Random(2)
    drawn = [row for _ in range(-(-10 // 3)) for row in rng.sample(others, 3)][:10]
    mix = [*listed, *drawn]
    rng.shuffle(mix)
    assert mixed(stored, others, 0.25, 2) == mix
    assert replaced(stored, others, 0.25, 3) == replaced(listed, others, 0.25, 3)
    path = rows_file(tmp_path / "rows.jsonl", 60)
    whole = list(load_examples(DataConfig(path=path), seed=0))
    assert load_examples(DataConfig(path=path, limit=25), seed=5) == random.Random(5).sample(whole, 25)
    assert load_examples(DataConfig(path=path), seed=5, shuffled=True) == random.Random(5).sample(whole, 60)


def test_a_trainer_gets_the_rows_that_it_would_get_from_a_list(tmp_path):
    listed = [example(i) for i in range(2_500)]
    folder = arrow_folder(tmp_path / "work")
    mapped = arrow_rows(Drawn([store(listed)], range(2_500)), folder / "train.arrow")
    whole = Dataset.from_list(listed)
    assert mapped.features == whole.features and mapped[:] == whole[:]
    longer = mapped.map(lambda row: {"length": len(row["completion"])})
    assert len(list(folder.iterdir())) == 2, "what is made of them lies beside them, and not in the cache of all"
    drop_stages(folder, [longer])
    assert len(list(folder.iterdir())) == 1 and longer[2_499]["prompt"] == listed[-1]["prompt"]
    assert not list(arrow_folder(tmp_path / "work").iterdir()), "a killed run's go when the next one begins"
    assert json.dumps(longer[0]["completion"]) == json.dumps(listed[0]["completion"])
