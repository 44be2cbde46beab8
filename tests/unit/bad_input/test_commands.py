"""Command lines and files that cannot be meant: every subcommand, plans, run folders, budgets, lists."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from securetune.base.artifacts import STAGES, Artifact, sealed
from securetune.cli import app
from tests.unit.bad_input.cases import Case, check, compared, run

PLAN = {"method": "by hand", "model": {"id": "m"}, "entries": [{"pattern": "q_proj"}]}
ROWS = "".join(f'{{"prompt": "{number}", "completion": "A"}}\n' for number in range(40))
STORED = {"stage": "evaluate", "variant": "base", "inputs": {}, "data": {}}


def plan(**changes):
    return json.dumps({**PLAN, **changes})


def stored(**changes):
    return json.dumps({**STORED, **changes})


def sealed_artifact(**changes):
    return json.dumps(asdict(sealed(Artifact(**{**STORED, **changes}))))


USAGE = [
    (["nonsense"], "No such command 'nonsense'"),
    (["--nonsense"], "No such option: --nonsense"),
    ([""], "No such command ''"),
    *((([command]), "Missing argument") for command in ("run", "compare", "config", "gate", "publish", "export")),
    *((([stage]), "Missing argument 'config'") for stage in STAGES),
    (["run", "a.yaml", "b.yaml"], "unexpected extra argument"),
    (["run", "a.yaml", "--set"], "requires an argument"),
    (["run", "a.yaml", "--steps", "3"], "No such option: --steps"),
    (["demo", "--seed", "x"], "Invalid value for '--seed'"),
    (["demo", "--seed", "-1"], "Invalid value for '--seed'"),
    (["demo", "--seed", "9" * 12], "Invalid value for '--seed'"),
    (["demo", "messages", "letters"], "unexpected extra argument"),
    (["export", "plan.json"], "Missing option '--to'"),
    (["export", "plan.json", "--to", "lora", "--learning-rate", "fast"], "Invalid value for '--learning-rate'"),
    (["export", "plan.json", "--to", "lora", "--learning-rate", "nan"], "nan is not a finite number above 0"),
    (["export", "plan.json", "--to", "lora", "--learning-rate", "-1"], "-1.0 is not a finite number above 0"),
    (["export", "plan.json", "--to", "lora", "--learning-rate", "inf"], "inf is not a finite number above 0"),
    (["plan-from-list", "list.yaml"], "Missing option '--model'"),
    (["plan-from-list", "list.yaml", "--model", "m"], "Missing option '--output'"),
    (["plan-from-list", "l", "--model", "m", "--output", "o", "--lr-mult", "-1"], "Invalid value for '--lr-mult'"),
    (["plan-from-list", "l", "--model", "m", "--output", "o", "--lr-mult", "nan"], "Invalid value for '--lr-mult'"),
    (["plan-from-list", "l", "--model", "m", "--output", "o", "--lr-mult", "inf"], "inf is not a finite number"),
    (["reproduce"], "Missing argument 'run'"),
    (["list", "judges", "more"], "unexpected extra argument"),
    (["tune", "model"], "Missing argument 'rows'"),
    (["tune", "model", "rows.jsonl", "--epochs", "nan"], "nan is not a finite number above 0"),
    (["tune", "model", "rows.jsonl", "--budget", "2"], "Invalid value for '--budget'"),
    (["check", "model"], "Missing argument"),
    (["repair", "model"], "Missing argument"),
    (["doctor", "model", "more"], "unexpected extra argument"),
    (["init", "model", "rows.jsonl"], "Missing argument 'file'"),
    (["publish", "run"], "Missing argument 'arm'"),
    (["publish", "run", "arm"], "Missing argument 'output'"),
    (["gate", "run", "more"], "unexpected extra argument"),
    (["gate", "run", "--budget", "x"], "No such option: --budget"),
]
PLACES = [
    *((([command, "absent.yaml"]), {}, "Expected a YAML file at absent.yaml, found none")
      for command in ("run", "compare", "config", *STAGES)),
    *((([command, "."]), {}, "Expected a YAML file at ., found a folder") for command in ("run", "compare", "config")),
    (["run", "/dev/null"], {}, "found a device or a pipe"),
    (["run", "x" * 300], {}, "File name too long"),
    (["run", "run.yaml/x"], {"run.yaml": run()}, "Not a directory"),
    (["run", "run.yaml"], {"run.yaml": compared()}, "Extra inputs are not permitted"),
    (["compare", "run.yaml"], {"run.yaml": run()}, "tasks: Field required"),
    (["compare", "run.yaml"], {"run.yaml": compared(run__model={"path": 3})},
     "model.path: Input should be a valid string"),
    (["demo", "poems"], {}, "Expected a task of"),
    (["list", "poems"], {}, "Expected one of attacks, benchmarks, defences, judges, perturbations, searches, signals"),
    (["tune", "m/odel", "absent.jsonl"], {}, "Expected a file of rows at absent.jsonl, found"),
    (["tune", "m/odel", "rows.jsonl"], {"rows.jsonl": '{"prompt": "a", "completion": "b"}\n'}, "at least 20 rows"),
    (["tune", "m/odel", "rows.jsonl", "--defence", "emma"], {"rows.jsonl": "x"}, "No defence is called 'emma'"),
    (["tune", "m/odel", "rows.jsonl", "-s", "train.setps=3"], {"rows.jsonl": "x"}, "train.setps: Extra inputs"),
    (["init", "m/odel", "absent.jsonl", "a.yaml"], {}, "Expected a file of rows at absent.jsonl, found"),
    (["init", "m/odel", "rows.jsonl", "a.yaml"], {"a.yaml": ""}, "Expected a new file, found a.yaml there already"),
    (["check", "./absent", "adapter"], {}, "absent"),
    (["check", "./absent", "adapter", "--budgets", "absent.yaml"], {}, "absent.yaml, found none"),
    (["tune", "m/odel", "rows.jsonl", "--defence", ""], {"rows.jsonl": "x"}, "Expected a value after --defence, found"),
    (["tune", "m/odel", "rows.jsonl", "--epochs", "1e308"], {"rows.jsonl": ROWS}, "one row to 1,000,000,000, found"),
    (["tune", "m/odel", "rows.jsonl", "--epochs", "1e-300"], {"rows.jsonl": ROWS}, "found --epochs 1e-300"),
    *((["tune", "m/odel", "rows.jsonl", "-s", f"{name}={value}"], {"rows.jsonl": ROWS}, f"Expected {option} of `sec")
      for name, value, option in (("output", "x", "--output"), ("arms", "[swat]", "--defence"), ("model", "x", "model"),
                                  ("seed", 3, "--seed"), ("train.adapter", "full", "--full"))),
    (["check", "./absent", "adapter", "--output", "a", "-s", "output=b"], {}, "Expected `output` once"),
    (["check", "./absent", "adapter", "--task", "a", "-s", "task=b"], {}, "Expected `task` once"),
    (["gate", "run", "--junit", "same", "--json", "same"], {}, "Expected --junit and --json to name two files"),
    (["reproduce", "absent"], {}, "Expected the folder of a run at absent"),
    (["reproduce", "."], {}, "Expected the folder of a run at ."),
    (["reproduce", "/"], {}, "Expected the folder of a run at /"),
    (["reproduce", ""], {}, "Expected a value after reproduce, found an empty one"),
    (["reproduce", "x" * 300], {}, "Expected the folder of a run at xxx"),
    (["new", "no-such-thing"], {}, "Expected a file to write, found none"),
    (["new", "no-such-thing", "run.yaml"], {}, "Expected a configuration that ships with securetune"),
    (["new", "../run/demo", "run.yaml"], {}, "Expected a configuration that ships with securetune"),
    (["new", "demo", "run.yaml"], {"run.yaml": ""}, "Expected a new file, found run.yaml there already"),
    (["new", "demo", "absent/run.yaml"], {}, "Expected a folder at absent, found none"),
    (["new", "demo", "a/run.yaml"], {"a": ""}, "Expected a folder at a, found none"),
    (["new", "demo", "x" * 300], {}, "File name too long"),
    (["train-base", "absent.yaml"], {}, "Expected a YAML file at absent.yaml"),
    (["train-base", "recipe.yaml"], {"recipe.yaml": "a: 1"}, "helpful: Field required"),
]  # fmt: skip
PLANS = [
    ("absent", None, "Expected a plan file at plan.json, found none"),
    ("empty", "", "Expected JSON in plan.json"),
    ("cut short", '{"method": "x", ', "Expected JSON in plan.json"),
    ("a list", "[]", "found a problem at the file"),
    ("a number", "3", "found a problem at the file"),
    ("nothing", "null", "found a problem at the file"),
    ("YAML", "method: x", "Expected JSON in plan.json"),
    ("other bytes", b"\xff\xfe\x00", "Expected a plan file as UTF-8 text"),
    ("nested", "[" * 5000, "nesting without end"),
    ("nested a little", "[" * 70 + "]" * 70, "nesting deeper than 60"),
    ("a key twice", '{"method": "x", "method": "y"}', "'method' twice in one object"),
    ("a safetensors file", b"\x10\0\0\0\0\0\0\0{}", "Expected JSON in plan.json"),
    ("an artifact without data", '{"stage": "plan"}', "found a problem at the file"),
    ("an artifact of another stage", '{"stage": "scan", "data": {}}', "found a problem at"),
    ("no entries", plan(entries=None), "found a problem at entries"),
    ("entries that are text", plan(entries="q_proj"), "found a problem at entries"),
    ("an entry that is text", plan(entries=["q_proj"]), "found a problem at entries.0"),
    ("an entry without pattern", plan(entries=[{"lr_mult": 1}]), "found a problem at entries.0.pattern"),
    ("a pattern that is none", plan(entries=[{"pattern": "("}]), "is not a regular expression"),
    ("a pattern that is a number", plan(entries=[{"pattern": 3}]), "found a problem at entries.0.pattern"),
    ("a long pattern", plan(entries=[{"pattern": "a" * 30_000}]), "more than 20000"),
    ("a nested pattern", plan(entries=[{"pattern": "(" * 9000 + ")" * 9000}]), "too deeply nested"),
    ("a rate below zero", plan(entries=[{"pattern": "a", "lr_mult": -1}]),
     "entries.0.lr_mult: Input should be greater"),
    ("no rate", plan(entries=[{"pattern": "a", "lr_mult": None}]), "entries.0.lr_mult"),
    ("an endless rate", '{"method": "x", "model": {"id": "m"}, "entries": [{"pattern": "a", "lr_mult": 1e999}]}',
     "the number inf, which is not finite"),
    ("a rate that is no number", plan(entries=[{"pattern": "a", "lr_mult": float("nan")}]), "the number nan"),
    ("a misspelt rate", plan(entries=[{"pattern": "a", "lr_mul": 1}]), "entries.0.lr_mul: Extra inputs"),
    ("no model", plan(model=None), "found a problem at model"),
    ("another field", plan(colour="red"), "found a problem at colour"),
    ("phases that go back", plan(phases=[{"until": 0.5, "entries": []}, {"until": 0.2, "entries": []}]),
     "phases must end at ascending fractions"),
    ("a phase beyond the end", plan(phases=[{"until": 2, "entries": []}]), "found a problem at phases.0.until"),
    ("half a character", plan().replace("by hand", "\\ud800"), "half a character"),
]  # fmt: skip
LISTS = [
    ("absent", None, "Expected a YAML or JSON list at list.yaml, found none"),
    ("empty", "", "Expected a list in list.yaml, found NoneType"),
    ("a mapping", "a: 1", "Expected a list in list.yaml, found dict"),
    ("a text", "layers", "Expected a list in list.yaml, found str"),
    ("cut short", "[1, 2", "Expected YAML in list.yaml"),
    ("an alias to itself", "&a [*a]", "aliases that stand for more than"),
    ("other bytes", b"\xff\xfe", "as UTF-8 text"),
    ("too long", f"[{'1, ' * 60_000}]", "at most 128 KiB"),
    ("an object", "!!python/object:os.system {}", "could not determine a constructor"),
    ("a model that is not there", "[1]", "Expected a model folder at './absent'"),
]
RUNS = [
    ("absent", {}, "Expected the folder of a finished run at run, found none"),
    ("a file", {"run": ""}, "Expected the folder of a finished run at run"),
    ("empty", {"run/x": ""}, "found it has done []"),
    ("a broken configuration", {"run/config.yaml": "a: ["}, "Expected YAML in run/config.yaml"),
    ("a configuration that is a list", {"run/config.yaml": "[1]"}, "Expected a mapping in run/config.yaml"),
    ("arms that are a number", {"run/config.yaml": "arms: 3"}, "Expected `arms` in run/config.yaml"),
    ("arms of numbers", {"run/config.yaml": "arms: [3]"}, "Expected `arms` in run/config.yaml"),
    ("a wrong factor", {"run/config.yaml": "arms: [ml_lr@x]"}, "Expected a positive factor"),
    ("an empty artifact", {"run/08-evaluate-base.json": ""}, "Expected an artifact in run/08-evaluate-base.json"),
    ("a cut artifact", {"run/08-evaluate-base.json": '{"stage": '}, "Expected an artifact in run/08-evaluate-base"),
    ("an artifact that is a list", {"run/08-evaluate-base.json": "[]"},
     "Expected Artifact in run/08-evaluate-base.json"),
    ("an artifact that is a number", {"run/08-evaluate-base.json": "3"},
     "Expected Artifact in run/08-evaluate-base.json"),
    ("an artifact without parts", {"run/08-evaluate-base.json": "{}"},
     "Expected Artifact in run/08-evaluate-base.json"),
    ("other bytes", {"run/08-evaluate-base.json": b"\xff\xfe"}, "Expected an artifact in run/08-evaluate-base.json"),
    ("nesting", {"run/08-evaluate-base.json": "[" * 5000}, "Expected an artifact in run/08-evaluate-base.json"),
    ("another variant", {"run/08-evaluate-base.json": stored(variant="x")}, "found"),
    ("a variant of nothing", {"run/08-evaluate-base.json": stored(variant=None)}, "found"),
    ("inputs that are a list", {"run/08-evaluate-base.json": stored(inputs=[])}, "found a problem at inputs"),
    ("data that are a list", {"run/08-evaluate-base.json": stored(data=[])}, "found a problem at data"),
    ("files that are a list", {"run/08-evaluate-base.json": stored(files=["x"])}, "found a problem at files"),
    ("files elsewhere", {"run/08-evaluate-base.json": stored(files={"../x": "0"})}, "a file outside of the run"),
    ("files at the root", {"run/08-evaluate-base.json": stored(files={"/etc/passwd": "0"})},
     "a file outside of the run"),
    ("no results", {"run/08-evaluate-base.json": sealed_artifact()}, "found a problem at benchmarks"),
    ("results that are text", {"run/08-evaluate-base.json": sealed_artifact(data={"benchmarks": "x"})},
     "found a problem at"),
    ("a folder for an artifact", {"run/08-evaluate-base.json/x": ""}, "run/08-evaluate-base.json"),
]  # fmt: skip
CASES = [
    *(Case(name=" ".join(words)[:60], words=words, says=says, code=2) for words, says in USAGE),
    *(Case(name=" ".join(words)[:60], words=words, files=files, says=says) for words, files, says in PLACES),
    *(
        Case(name=f"plan: {name}", words=["export", "plan.json", "--to", "lora"], says=says,
             files={} if text is None else {"plan.json": text})
        for name, text, says in PLANS
    ),
    Case(name="another format", words=["export", "plan.json", "--to", "excel"], files={"plan.json": plan()},
         says="Expected --to one of"),
    Case(name="another adapter", words=["export", "plan.json", "--to", "lora", "--adapter", "no"],
         files={"plan.json": plan()}, says="--adapter lora or full, found"),
    *(
        Case(name=f"list: {name}", words=["plan-from-list", "list.yaml", "--model", "./absent", "--output", "p.json"],
             says=says, files={} if text is None else {"list.yaml": text})
        for name, text, says in LISTS
    ),
    *(
        Case(name=f"{words[0]}, {name}", words=words, files=files, says=says)
        for name, files, says in RUNS
        for words in (["gate", "run"], ["publish", "run", "base", "new"])
        if words[0] == "gate" or "config.yaml" not in str(files)  # a card reads it only of what was evaluated
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_command_line_or_file_is_refused_at_once(case, tmp_path):
    check(case, tmp_path)


def test_every_command_has_a_bad_command_line_in_the_table():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert commands <= {case.words[0] for case in CASES}


@pytest.mark.parametrize(
    "words",
    [["run", "run.yaml"], ["scan", "absent.yaml"], ["compare", "grid.yaml"], ["demo", "poems"],
     ["export", "plan.json", "--to", "lora"], ["plan-from-list", "plan.json", "--model", "m", "--output", "p"],
     ["gate", "absent"], ["publish", "absent", "a", "b"], ["reproduce", "absent"], ["train-base", "plan.json"],
     ["plan-from-list", "list.yaml", "--model", "./m", "--output", "p"]],
)  # fmt: skip
def test_an_error_that_needs_no_model_loads_none(words, tmp_path):
    (tmp_path / "run.yaml").write_text(run(seed=-1))
    (tmp_path / "grid.yaml").write_text(compared(run__model={"path": 3}))
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "list.yaml").write_text("[1]")
    code = (
        "import sys; from securetune.cli import entry\n"
        f"sys.argv = ['securetune', *{words!r}]\n"
        "try: entry()\n"
        "except SystemExit as end: print(end.code, [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "2 []"
    assert done.stderr.startswith("Error: Expected ") and "Traceback" not in done.stderr
