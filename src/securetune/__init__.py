"""securetune: tune on your benign data, keep your model's safety, see the proof."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    # functions
    "attach": "train.attach",
    "monitor": "train.monitor",
    "check": "doors.checked",
    "tune": "doors.tuned",
    "repair": "doors.repaired",
    "run": "flow.pipeline",
    "compare_runs": "compare.run",
    "harness": "evaluate.harness",
    "fine_tune": "train.sft",
    "assess": "evaluate.assess",
    "load_model": "models.loading",
    "load_tokenizer": "models.loading",
    "load_prompts": "data.prompts",
    "parse_config": "config",
    "read_topology": "models.reading",
    "extract_features": "models.features",
    "fit_probe": "scan.probe",
    "render_report": "report.render",
    "read_run": "report.reading",
    # what a plug-in of one's own is made of
    "Defence": "defences.base.interface",
    "Need": "defences.base.needs",
    "PlanInputs": "defences.base.interface",
    "Analysed": "defences.base.interface",
    "TrainingRun": "defences.base.run",
    "TokenBatch": "defences.base.batch",
    "Judge": "evaluate.judges.base.interface",
    "Verdict": "evaluate.judges.base.interface",
    "Answer": "evaluate.answers",
    "Attack": "evaluate.attacks.base.interface",
    "Source": "evaluate.benchmarks.base.source",
    "Perturbation": "perturb.base.apply",
    "Draw": "perturb.base.apply",
    "SearchProblem": "search.base.problem",
    # configurations
    "RunConfig": "config",
    "AnalysisConfig": "config",
    "PromptsConfig": "config",
    "SearchConfig": "config",
    "TaskConfig": "config",
    "BenchmarkConfig": "config",
    "AttackConfig": "config",
    "CompareConfig": "compare.grid",
    "ModelConfig": "models.config",
    "DataConfig": "data.config",
    "ScanConfig": "scan.config",
    "TrainConfig": "train.config",
    "EvaluateConfig": "evaluate.config",
    # what functions take and give
    "Plan": "plans.plan",
    "PlanModel": "plans.plan",
    "Entry": "plans.plan",
    "Phase": "plans.plan",
    "Run": "report.reading",
    "Model": "report.reading",
    "Resources": "defences.base.run",
    "Combination": "defences.base.combination",
    "LossTarget": "measures.loss_target",
    "Tuning": "train.sft",
    "TrainResult": "train.result",
    "Benchmark": "evaluate.benchmark",
    "EvalResult": "evaluate.result",
    "Assessment": "evaluate.result",
    "Kind": "measures.kinds",
    "Openings": "models.openings",
    "ModuleRef": "models.topology",
    "ModuleSet": "models.topology",
    "Topology": "models.topology",
    "Prompt": "data.prompts",
    "PromptBatch": "models.features",
    "Features": "models.features",
    "LinearProbe": "scan.probe",
    "Checked": "doors.checked",
    "Budgets": "report.gate",
    "Scanner": "scan.scanner",
    "Tuned": "doors.tuned",
    "Repaired": "doors.repaired",
    "Session": "flow.session",
    "Artifact": "base.artifacts",
    "RunFolder": "base.artifacts",
    "Journal": "base.artifacts",
    "SecuretuneError": "errors",
}

__all__ = [*sorted(_WHERE), "__version__"]

if TYPE_CHECKING:
    from securetune.train.attach import attach as attach
    from securetune.train.monitor import monitor as monitor


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing the package costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'securetune' has no attribute {name!r}; it offers {sorted(_WHERE)}")
    return getattr(importlib.import_module(f"securetune.{_WHERE[name]}"), name)
