"""The half without torch: what it imports, how soon it answers, and which names are public."""

import pkgutil
import subprocess
import sys
import time

import securetune


def test_the_light_half_imports_neither_torch_nor_transformers():
    names = ("cli", "models.topology", "plans.plan", "base.artifacts", "base.registry", "search.greedy",
             "search.pattern", "report.tables", "report.gate", "report.reading", "report.render", "report.card",
             "scan.result", "config", "compare.grid")  # fmt: skip
    imports = ", ".join(f"securetune.{name}" for name in names)
    code = f"import sys, {imports}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_what_it_says_twice_and_in_any_order():
    code = (
        "import random, types, securetune;"
        "names = random.Random({seed}).sample(securetune.__all__, len(securetune.__all__));"
        "first = [getattr(securetune, name) for name in names];"
        "second = [getattr(securetune, name) for name in names];"
        "assert all(a is b and not isinstance(a, types.ModuleType) for a, b in zip(first, second)), names"
    )
    for seed in range(2):
        done = subprocess.run([sys.executable, "-c", code.format(seed=seed)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_no_public_name_is_a_module_of_the_package_too():
    modules = {module.name for module in pkgutil.iter_modules(securetune.__path__)}
    assert not modules & set(securetune.__all__), "importing the module would put it in the name's place"


def test_help_answers_quickly():
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "securetune", "--help"], capture_output=True, check=True)
    assert time.monotonic() - start < 4, "far above the 0.4 s it takes on a quiet machine: something heavy is imported"
