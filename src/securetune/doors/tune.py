"""Tune: with nothing but a model and rows, which run answers "tune this for me and keep it safe"?

The run is an ordinary one: plain tuning says which loss on held-out rows is to be reached and what would have been
lost, the defence reaches that loss, and both are asked the prompt pack. Beside the run lies the adapter (or the model)
of the defence with its card.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from securetune.base.artifacts import write_atomic
from securetune.base.files import PARTIAL
from securetune.config import RunConfig, merged, override, parse_config, read_yaml
from securetune.data.config import OWN
from securetune.data.examples import load_source
from securetune.defences import DEFENCES
from securetune.defences.base.arm import PLAIN, Arm
from securetune.doors.recommended import RECOMMENDED
from securetune.errors import ConfigError, DataError
from securetune.flow.inputs import check_inputs
from securetune.train.config import UNCOUNTED

REQUEST = "tune.yaml"
"""In the output folder: the configuration that is run."""
GIVEN = "given"
"""In the output folder: what was given as an object, not as a file."""
RUN, TUNED = "run", "tuned"
"""In the output folder: the run, and the tuned adapter or model with its card."""
_HELD_OUT = 200
"""Rows held out at most; of few rows a fifth is."""
_FEWEST = 20
"""Rows of which ten can be held out and as many be tuned on."""
SOURCE = "the run of `securetune tune`"
"""Where a configuration comes from, in messages."""
_MOST = 10**9
"""Rows that training sees, one row as often as it comes; nobody waits for more."""
_PREFLIGHT = {"answered": 0.0, "agreement": 0.5}
"""A model that refuses too much can be tuned, too; that it does is told, and measured."""
_SCAN = {"when": "needed", "method": "race", "draws": 2, "prompts": 40}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody asks of `tune`."""

    model: str
    """Folder or Hub id."""
    rows: str
    """File of rows, or a data set id on the Hub."""
    output: Path
    defence: str | None = None
    """An arm; by default the recommended one."""
    safety: str = OWN
    """File of prompts with safe answers, or ``self`` for the model's own, made only where the defence needs any."""
    full: bool = False
    """Tune all weights instead of LoRA adapters."""
    epochs: float = 1.0
    """Passes over the rows that plain tuning makes."""
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the run's configuration that are to be otherwise; a name with dots sets a field of a section."""

    @property
    def adapter(self) -> str:
        """As `train.adapter` names it."""
        return "full" if self.full else "lora"

    @property
    def arm(self) -> str:
        """The arm whose model is written.

        Raises:
            ConfigError: it is not written as an arm is.
        """
        return str(Arm.parse(RECOMMENDED.arm if self.defence is None else self.defence))


def tune_settings(request: Request) -> dict[str, Any]:
    """The configuration of the run, as a YAML file would hold it.

    Raises:
        ConfigError: a setting that cannot be.
        DataError: the rows cannot be read, or are too few.
    """
    below: dict[str, Any] = {
        "model": request.model,
        "output": str(request.output / RUN),
        "seed": request.seed,
        "preflight": _PREFLIGHT,
        "safety": OWN if request.safety == OWN else {"path": request.safety},
        "scan": _SCAN,
        "arms": [request.arm],
        "task": {"name": Path(request.rows).stem, "train": {"path": request.rows}},
        "train": {"adapter": request.adapter, "learning_rate": 2e-5 if request.full else 2e-4},
    }
    own: dict[str, Any] = {}
    for name, value in request.settings.items():
        override(own, name, value)
    settings = merged(below, own)
    config = parse_config(settings, SOURCE)
    rows = len(load_source(config.task.train, seed=request.seed).rows)
    if rows < _FEWEST:
        raise DataError(
            f"Expected at least {_FEWEST} rows in {request.rows}, of which some are held out, found {rows}. Add rows."
        )
    held_out = min(config.task.test_rows, max(_FEWEST // 2, rows // 5))
    seen = rows if config.task.test is not None else rows - held_out
    if not 1 <= request.epochs * seen <= _MOST:
        raise ConfigError(
            f"Expected passes over {seen:,} rows that see from one row to {_MOST:,}, found --epochs "
            f"{request.epochs:g}. Give another number."
        )
    steps = max(1, math.ceil(request.epochs * seen / (config.train.batch_size * config.train.gradient_accumulation)))
    told = {"task": {"test_rows": held_out}, "train": {"steps": steps, "warmup_steps": min(10, steps // 10)}}
    return merged(merged(settings, told), own)


def _check_options_hold(request: Request, config: RunConfig) -> None:
    """Make sure that no setting takes the place of an option: what is said, and the card, go by the options."""
    pairs = {
        "model": (request.model, config.model.path),
        "rows": (request.rows, config.task.train.path),
        "--output": (str(request.output / RUN), config.output),
        "--defence": ([request.arm], [str(Arm.parse(arm)) for arm in config.arms]),
        "--full": (request.adapter, config.train.adapter),
        "--seed": (request.seed, config.seed),
    }
    for option, (asked, set_) in pairs.items():
        if asked != set_:
            raise ConfigError(
                f"Expected {option} of `securetune tune` to say what is done, found {set_!r} under --set in the place "
                f"of {asked!r}. Give it as {option}, and take it out of --set."
            )


def check_output(request: Request, settings: dict[str, Any]) -> None:
    """Check that nothing of anybody's lies in the output folder but this very run.

    Raises:
        ConfigError: something else does.
    """
    check_begun(request.output)
    path = request.output / REQUEST
    if path.exists() and _counted(read_yaml(path)) != _counted(settings):
        raise ConfigError(
            f"Expected the run that {path} describes to be resumed as it was begun, found another model, other "
            "rows or other options. Choose another --output, or repeat the options."
        )


def check_begun(output: Path) -> None:
    """Check that nothing lies in the output folder, unless a tuning has begun there.

    Raises:
        ConfigError: something does.
    """
    if not output.exists() or (output / REQUEST).exists():
        return
    if any(file.suffix != PARTIAL and file.name != GIVEN for file in output.iterdir()):
        raise ConfigError(
            f"Expected a new folder, or one that `securetune tune` has begun, at {output}, found other files there. "
            "Choose another --output."
        )


def _counted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that change no result."""
    train = {name: value for name, value in settings.get("train", {}).items() if name not in UNCOUNTED}
    return {**settings, "train": train}


def settings_text(settings: Mapping[str, Any]) -> str:
    """The configuration as `securetune run` reads it."""
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def keep_settings(request: Request, settings: Mapping[str, Any]) -> None:
    """Leave the configuration in the output folder before any work."""
    request.output.mkdir(parents=True, exist_ok=True)
    write_atomic(request.output / REQUEST, settings_text(settings))


def check_request(request: Request) -> dict[str, Any]:
    """The configuration that is to be run, after everything that needs no model is checked.

    Raises:
        SecuretuneError: what cannot be used.
    """
    settings = usable_settings(request)
    _check_options_hold(request, parse_config(settings, SOURCE))
    check_output(request, settings)
    return settings


def usable_settings(request: Request) -> dict[str, Any]:
    """The configuration of the run, whose defence, model's folder and files are there.

    Raises:
        SecuretuneError: what cannot be used.
    """
    for name in Arm.parse(request.arm).names:
        DEFENCES.check(name)
    settings = tune_settings(request)
    check_inputs([parse_config(settings, SOURCE)])
    return settings


def announcement(request: Request, config: RunConfig) -> str:
    """What is about to happen, with which defence, why, and what it costs."""
    rows = config.train.batch_size * config.train.gradient_accumulation
    lines = [
        f"Tune {request.model} on {request.rows}: {config.train.adapter}, {config.train.steps} steps of "
        f"{rows} rows, {config.task.test_rows} rows held out.",
    ]
    if request.arm != PLAIN:
        lines.append(f"Defence: {request.arm}. Plain tuning runs first: it says which loss is to be reached.")
    if request.defence is None:
        lines += [f"Why: {RECOMMENDED.why}.", f"Cost: {RECOMMENDED.cost}."]
    lines.append(
        f"Asked before and after: {', '.join(set_.name or str(set_.benchmark) for set_ in config.benchmarks)}."
    )
    return "\n".join(lines)
