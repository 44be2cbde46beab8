"""The half without torch: topology, plan, registry, artifacts, search."""

import itertools
import json
import pkgutil
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import securetune
from securetune.base.artifacts import STAGES, Journal, Product, RunFolder
from securetune.base.registry import Registry
from securetune.errors import ArtifactError, PlanError, RegistryError, TopologyError
from securetune.flow.stages import STAGE_FILES
from securetune.models.topology import ModuleInfo, ModuleRef, ModuleSet, Topology, clean_name
from securetune.plans.plan import Entry, Phase, Plan, PlanModel, module_entries, plan_of
from securetune.scan.agreement import disagreement_sentence, repeat_agreement, signal_agreement
from securetune.scan.controls import control_labels
from securetune.scan.patterns import tested_patterns
from securetune.scan.signals.base.measurer import drops
from securetune.search import SEARCHES
from securetune.search.base.problem import SearchProblem


def llama_topology(layers=12):
    modules = {
        ModuleRef(i, role): ModuleInfo(path=path, weight=f"{path}.weight", shape=(4, 4))
        for i in range(layers)
        for role, path in (("q", f"model.layers.{i}.self_attn.q_proj"), ("down", f"model.layers.{i}.mlp.down_proj"))
    }
    return Topology(model_type="llama", layers=layers, hidden_size=4, modules=modules)


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


def test_module_set_iterates_in_layer_order_and_parses_its_own_names():
    modules = ModuleSet.parse(["10.q", "2.down", "2.q"])
    assert modules.names() == ["2.down", "2.q", "10.q"]
    assert ModuleSet.parse(modules.names()) == modules
    with pytest.raises(TopologyError, match="layer.role"):
        ModuleRef.parse("q.3")


def test_topology_survives_json_and_its_fingerprint_tells_depths_apart():
    topology = llama_topology()
    assert Topology.from_dict(json.loads(json.dumps(topology.to_dict()))) == topology
    assert topology.fingerprint() != llama_topology(13).fingerprint()


@pytest.mark.parametrize(
    "name",
    [
        "_fsdp_wrapped_module.model.layers.1._fsdp_wrapped_module.self_attn.q_proj.weight",
        "_orig_mod.model.layers.1.self_attn.q_proj.weight",
        "module.model.layers.1.self_attn.q_proj.weight",
        "base_model.model.model.layers.1.self_attn.q_proj.base_layer.weight",
    ],
)
def test_wrapper_names_are_looked_through(name):
    assert clean_name(name) == "model.layers.1.self_attn.q_proj.weight"


def test_module_entries_match_exactly_their_modules():
    topology = llama_topology()
    chosen = ModuleSet.parse(["1.q", "3.down"])
    plan = plan_of("ml_lr", PlanModel(id="x"), topology, chosen, rest_lr_mult=0.1)
    for ref, info in topology.modules.items():
        expected = (1.0,) if ref in chosen else (0.1,)
        assert plan.lr_scale(info.weight) == expected, ref
        assert plan.lr_scale(f"base_model.model.{info.path}.lora_A.default.weight") == expected, ref
    assert plan.lr_scale("vision_model.layers.1.self_attn.q_proj.weight") == (0.1,)
    assert len(module_entries(chosen, topology, lr_mult=1.0)) == 2


def test_first_matching_entry_wins():
    entries = (Entry(pattern="q_proj", lr_mult=0.5), Entry(pattern="layers", lr_mult=0.1))
    plan = Plan(method="x", model=PlanModel(id="x"), entries=entries)
    assert plan.lr_scale("layers.0.q_proj") == (0.5,)
    assert plan.lr_scale("layers.0.k_proj") == (0.1,)
    assert plan.lr_scale("embed_tokens") == (1.0,)


def test_phases_rule_their_share_of_the_steps():
    phase = Phase(until=0.25, entries=(Entry(pattern=".*", lr_mult=0.0),))
    plan = Plan(method="x", model=PlanModel(id="x"), entries=(), phases=(phase,))
    assert [plan.stage_at(step, 8) for step in range(4)] == [0, 0, 1, 1]
    assert not plan.is_frozen("w")


def test_plan_survives_its_file_and_a_bad_file_is_named(tmp_path):
    plan = plan_of("ml_lr", PlanModel(id="x"), llama_topology(), ModuleSet.parse(["0.q"]), rest_lr_mult=0.1)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    (tmp_path / "06-plan-ml_lr.json").write_text(json.dumps({"stage": "plan", "data": plan.model_dump()}))
    assert Plan.load(tmp_path / "06-plan-ml_lr.json") == plan
    (tmp_path / "cut.json").write_text('{"method": "x"')
    with pytest.raises(PlanError, match="Expected JSON in"):
        Plan.load(tmp_path / "cut.json")
    with pytest.raises(PlanError, match="found none"):
        Plan.load(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text('{"method": "x", "model": {"id": "x"}, "entries": [{"pattern": "("}]}')
    with pytest.raises(PlanError, match="not a regular expression"):
        Plan.load(tmp_path / "bad.json")


def test_an_unknown_plugin_gets_a_near_match_and_the_list():
    with pytest.raises(RegistryError, match=r"Did you mean 'greedy'\? Choose one of: beam, bisect, greedy"):
        SEARCHES.get("gredy")


def test_listing_plugins_imports_none_of_them():
    registry = Registry(kind="judge", package="securetune.evaluate.judges", attribute="judge")
    assert {"refusal_margin", "refusal_phrases"} <= set(registry.names())


def produce(folder, inputs, calls):
    def compute():
        calls.append(1)
        companion = folder.file("scan", suffix=".txt")
        companion.write_text("x")
        return Product(data={"n": len(calls)}, files=[companion])

    return folder.produce("scan", inputs, compute)


def test_a_stage_is_skipped_until_an_input_or_a_companion_changes(tmp_path):
    calls = []
    with RunFolder(tmp_path) as folder:
        produce(folder, {"a": "1"}, calls)
        assert produce(folder, {"a": "1"}, calls).data == {"n": 1}
        assert produce(folder, {"a": "2"}, calls).data == {"n": 2}
        folder.file("scan", suffix=".txt").write_text("changed by someone")
        assert produce(folder, {"a": "2"}, calls).data == {"n": 3}


def test_a_killed_stage_leaves_the_old_artifact(tmp_path):
    calls = []
    with RunFolder(tmp_path) as folder:
        produce(folder, {"a": "1"}, calls)
        with pytest.raises(KeyboardInterrupt):
            folder.produce("scan", {"a": "2"}, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        assert folder.read("scan").data == {"n": 1}


def test_an_artifact_of_a_newer_version_is_left_alone(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.produce("scan", {"a": "1"}, lambda: Product(data={"n": 1}), version=3)
        with pytest.raises(ArtifactError, match="Expected version 2 or older of scan .* found 3. Update securetune"):
            folder.produce("scan", {"a": "1"}, lambda: Product(data={"n": 2}), version=2)
        assert folder.produce("scan", {"a": "1"}, lambda: Product(data={"n": 2}), version=4).data == {"n": 2}


def test_any_variant_has_a_file_name_and_two_that_share_one_are_noticed(tmp_path):
    with RunFolder(tmp_path) as folder:
        for variant in ("ml_lr+ptst@0.5", "my/own.py:Mine"):
            folder.produce("plan", {}, lambda: Product(data={}), variant=variant)
        assert folder.variants("plan") == ["ml_lr+ptst@0.5", "my/own.py:Mine"]
        assert folder.file("plan", "ml_lr+ptst@0.5").name == "06-plan-ml_lr+ptst@0.5.json"
        with pytest.raises(ArtifactError, match="both have this file name"):
            folder.read("plan", "my-own.py:Mine")


def test_of_several_that_want_an_artifact_one_computes_it(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        time.sleep(0.2)
        return Product(data={"n": len(calls)})

    with ThreadPoolExecutor(4) as pool:
        folders = [RunFolder(tmp_path, locks=False) for _ in range(4)]
        made = list(pool.map(lambda folder: folder.produce("scan", {}, compute), folders))
    assert len(calls) == 1 and all(artifact.data == {"n": 1} for artifact in made)


def test_every_stage_of_the_order_has_its_file_and_its_help():
    assert set(STAGE_FILES.names()) == set(STAGES)
    assert all(STAGE_FILES.summary(stage).endswith(".") for stage in STAGES)


def test_two_processes_cannot_share_a_run_folder(tmp_path):
    with RunFolder(tmp_path), pytest.raises(ArtifactError, match="Another securetune process"), RunFolder(tmp_path):
        pass


def test_a_damaged_artifact_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    folder.file("scan").write_text("{")
    with pytest.raises(ArtifactError, match=r"04-scan.json.*Delete the file"):
        folder.read("scan")


def test_a_journal_repeats_nothing_and_forgets_a_line_cut_short(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path)
    assert [journal.once(key, lambda: 1.5) for key in "aba"] == [1.5] * 3
    path.write_text(path.read_text() + '["c", {"x"')
    again = Journal(path)
    assert again.once("a", lambda: 99) == 1.5
    assert again.once("c", lambda: 3) == 3
    assert Journal(path).once("c", lambda: 99) == 3


def additive_problem(costs, tolerance, **options):
    refs = {ModuleRef(i, "q"): cost for i, cost in enumerate(costs)}
    ranking = sorted(refs, key=lambda ref: refs[ref])
    score = lambda modules: sum(refs[ref] for ref in modules)  # noqa: E731
    return SearchProblem(ranking=ranking, score=score, tolerance=tolerance, layers=len(costs), **options)


@pytest.mark.parametrize("name", ["greedy", "bisect", "beam"])
def test_searches_find_the_optimum_where_drops_add_up(name):
    rng = random.Random(0)
    for _ in range(20):
        costs = [rng.random() for _ in range(9)]
        problem = additive_problem(costs, 1.5)
        best = max(k for k in range(10) if sum(sorted(costs)[:k]) <= 1.5)
        assert len(SEARCHES.get(name)(problem)) == best


@pytest.mark.parametrize("name", SEARCHES.names())
def test_every_search_returns_known_modules_and_repeats_itself(name):
    found = [SEARCHES.get(name)(additive_problem([0.1 * i for i in range(8)], 1.0, size=3)) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].members <= {ModuleRef(i, "q") for i in range(8)}
    if name in ("random", "inverted"):
        assert len(found[0]) == 3


@pytest.mark.parametrize("name", ["greedy", "bisect", "pattern", "beam"])
def test_searches_stay_within_tolerance_when_robust_modules_are_sensitive_together(name):
    together = ModuleSet.parse(["0.q", "1.q"])
    problem = additive_problem([0.0, 0.0, 0.0, 0.5], 0.2)
    alone = problem.score
    problem.score = lambda modules: 1.0 if together.members <= modules.members else alone(modules)
    assert problem.score(SEARCHES.get(name)(problem)) <= 0.2


def clashing_problem(seed):
    """Drops that add up, and three pairs of modules that are sensitive together."""
    rng = random.Random(seed)
    problem = additive_problem([rng.random() for _ in range(8)], 1.2)
    refs = sorted(problem.ranking)
    pairs = [rng.sample(refs, 2) for _ in range(3)]
    alone = problem.score
    problem.score = lambda modules: alone(modules) + sum(a in modules and b in modules for a, b in pairs)
    return problem


def optimum(problem):
    """Size of the largest set within tolerance, by trying all of them."""
    refs = list(problem.ranking)
    sets = (ModuleSet.of(c) for k in range(len(refs) + 1) for c in itertools.combinations(refs, k))
    return max(len(s) for s in sets if problem.score(s) <= problem.tolerance)


def test_beam_comes_closer_to_the_brute_force_optimum_than_greedy_and_bisect():
    best = [optimum(clashing_problem(seed)) for seed in range(20)]
    short = {}
    for name in ("beam", "greedy", "bisect"):
        found = [len(SEARCHES.get(name)(clashing_problem(seed))) for seed in range(20)]
        assert all(f <= b for f, b in zip(found, best, strict=True))
        short[name] = sum(b - f for f, b in zip(found, best, strict=True))
    assert short["beam"] <= short["greedy"] <= short["bisect"]
    assert short["beam"] <= 2, "over all 20 problems together"


def test_signals_that_rank_alike_agree_and_a_constant_one_is_named():
    rng = random.Random(0)
    truth = [rng.random() for _ in range(40)]
    draws = {
        f"{i}.q": [{"probe": 0.0, "a": t + rng.gauss(0, 0.01), "b": 2 * t, "noise": rng.random()} for _ in range(2)]
        for i, t in enumerate(truth)
    }
    pairs = {(x.a, x.b): x for x in signal_agreement(draws)}
    assert pairs["a", "b"].verdict == "agree" and pairs["a", "b"].rho > 0.95
    assert pairs["a", "noise"].verdict == "disagree"
    assert pairs["probe", "a"].verdict == "no variation"
    assert "cannot be compared" in disagreement_sentence(list(pairs.values()), "probe", "b")
    assert "disagree" in disagreement_sentence(list(pairs.values()), "noise", "b")
    repeats = {x.a: x for x in repeat_agreement(draws)}
    assert repeats["b"].rho == pytest.approx(1.0) and repeats["noise"].rho < 0.5
    assert repeat_agreement({ref: found[:1] for ref, found in draws.items()}) == []


def drops_of(value, draws=2, **controls):
    """Drops of a 6-layer model of q and down, as a scan stores them; `value` takes layer and role."""
    rng = random.Random(0)
    return {
        f"{layer}.{role}": [
            {"s": value(layer, role) + rng.gauss(0, 0.001)} | {k: f(layer, role) for k, f in controls.items()}
            for _ in range(draws)
        ]
        for layer in range(6)
        for role in ("q", "down")
    }


def test_what_safety_loses_more_than_the_controls_is_a_signal_of_its_own():
    clean = {"control:safety": 4.0, "control:length": 2.0, "control:question": 1.0, "other": 1.0}
    perturbed = {"control:safety": 1.0, "control:length": 1.0, "control:question": 0.5, "other": 1.0}
    assert drops(clean, perturbed, clean)["safety_minus_controls"] == pytest.approx(0.75 - 0.5)
    assert "safety_minus_controls" not in drops({"other": 1.0}, {"other": 0.5}, {"other": 1.0})


def verdicts(found):
    return {(pattern.name[0], pattern.measured): pattern.verdict for pattern in found}


def test_patterns_hold_where_they_were_put_and_not_where_the_controls_explain_them():
    early = lambda layer, role: 0.1 * (6 - layer)  # noqa: E731
    draws = drops_of(early, safety_minus_controls=lambda layer, role: 0.0)
    assert verdicts(tested_patterns(draws, "s", [])) == {
        ("A", "s"): "holds",
        ("B", "s"): "undecided on this model",
        ("A", "safety_minus_controls"): "undecided on this model",
        ("B", "safety_minus_controls"): "undecided on this model",
    }
    queries = drops_of(lambda layer, role: float(role == "q"))
    assert verdicts(tested_patterns(queries, "s", []))["B", "s"] == "holds"
    late = drops_of(lambda layer, role: float(layer))
    assert verdicts(tested_patterns(late, "s", []))["A", "s"] == "does not hold"


def test_pattern_c_compares_the_joint_drop_with_the_sum_of_the_single_ones():
    draws = drops_of(lambda layer, role: 0.01)
    sets = [{"modules": [f"{i}.q" for i in range(size)], "drops": {"s": 0.2 * size}} for size in (1, 2, 3, 4)]
    found = {p.name[0]: p for p in tested_patterns(draws, "s", sets)}
    assert found["C"].verdict == "holds" and found["C"].n == 3
    assert found["C"].effect == pytest.approx(0.19 * 3, abs=0.01)


def test_a_control_concept_needs_both_sides_and_must_not_go_along_with_malice():
    texts = ["How do I bake bread?", "Bake it", "What is a very long question about tea?", "Tell me more about it"] * 5
    malicious = np.array([0, 1, 0, 1] * 5)
    assert "question" not in control_labels(texts, malicious), "every question here is benign"
    found = control_labels(texts, np.array([0, 0, 1, 1] * 5))
    assert found["question"].tolist() == [True, False, True, False] * 5
    assert "length" not in control_labels(["two words"] * 20, malicious)


def test_help_answers_quickly():
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "securetune", "--help"], capture_output=True, check=True)
    assert time.monotonic() - start < 4, "far above the 0.4 s it takes on a quiet machine: something heavy is imported"
