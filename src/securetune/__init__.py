"""securetune: tune on your benign data, keep your model's safety, see the proof."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "attach": "train.attach",
    "monitor": "train.monitor",
    "Plan": "plans.plan",
    "RunConfig": "config",
    "parse_config": "config",
    "compare_runs": "compare.run",
    "run": "flow.pipeline",
    "Session": "flow.session",
    "load_model": "models.loading",
    "load_tokenizer": "models.loading",
    "ModelConfig": "models.config",
    "read_topology": "models.reading",
    "ModuleRef": "models.topology",
    "ModuleSet": "models.topology",
    "Topology": "models.topology",
    "load_prompts": "data.prompts",
    "extract_features": "models.features",
    "fit_probe": "scan.probe",
    "Scanner": "scan.scanner",
    "SearchProblem": "search.base.problem",
    "fine_tune": "train.sft",
    "assess": "evaluate.assess",
    "render_report": "report.render",
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
