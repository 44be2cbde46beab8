"""Repair: in which ways is a broken tuned model to be mended without the rows of its task? Settings, and their use.

Nothing here needs torch, so that a mistake is answered at once; `securetune.doors.repaired` does the work.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from securetune.base.fingerprint import FilePath
from securetune.base.places import expanded
from securetune.base.strict import Strict
from securetune.base.texts import read_object
from securetune.config import validated
from securetune.data.config import OWN, DataConfig
from securetune.doors.check import CheckConfig, check_usable, output_of, raw_settings, set_fields
from securetune.errors import ConfigError, ModelError
from securetune.flow.inputs import check_files
from securetune.models.config import ModelConfig, ModelPath
from securetune.models.files import check_model
from securetune.models.given import GivenConfig, GivenContent, check_given, is_same_model
from securetune.models.served import check_not_served
from securetune.models.source import ADAPTER, adapter_folder, check_trainable
from securetune.plans.plan import Plan
from securetune.report.gate import Budgets

CHECK, REPAIRED = "check", "repaired"
"""In the output folder: the check with every candidate, and the mended adapter or model with its card."""


class Mend(Strict):
    """One way to mend a model."""

    defence: Literal["wise_ft", "safe_lora", "resta", "safe_merge", "safe_steps", "one_shot"]
    share: float | None = None
    """WiSE-FT: share of the tuning's change that is kept."""
    plan: FilePath | None = None
    """WiSE-FT: only what this plan holds back goes back."""
    unaligned: ModelPath | None = None
    """The others: the model before its alignment."""
    safety_adapter: Annotated[str, GivenContent()] | None = None
    """SafeMERGE: the adapter that is merged in."""
    safety: DataConfig | None = None
    """Safe steps and the one-shot patch: rows with safe answers."""
    steps: int | None = None
    """Safe steps: how many."""

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the defence."""
        if self.defence == "wise_ft":
            return {"share": self.share}
        if self.steps is not None:
            return {"steps": self.steps}
        if self.safety_adapter is None:
            return {}
        return {"adapter": str(adapter_folder(self.safety_adapter) or self.safety_adapter)}

    @property
    def title(self) -> str:
        """What tables call the model that it leaves."""
        by_plan = "" if self.plan is None else " by plan"
        return {
            "wise_ft": f"WiSE-FT {self.share}{by_plan}",
            "safe_lora": "SafeLoRA",
            "resta": "RESTA",
            "safe_merge": "SafeMERGE",
            "safe_steps": f"{self.steps} safe steps",
            "one_shot": "one-shot patch",
        }[self.defence]

    @property
    def sentence(self) -> str:
        """What it does."""
        if self.defence == "wise_ft":
            where = "" if self.plan is None else ", in the modules that a plan holds back"
            return f"It keeps {self.share} of what tuning changed{where} (WiSE-FT, arXiv 2109.01903)."
        return {
            "safe_lora": "The adapters that disagree most with the alignment are projected onto its direction "
            "(SafeLoRA, arXiv 2405.16833).",
            "resta": "Half of what the alignment once added is added again (RESTA, arXiv 2402.11746).",
            "safe_merge": "The modules that disagree with the alignment are merged with a safety adapter's "
            "(SafeMERGE, arXiv 2503.17239).",
            "safe_steps": f"It was tuned on for {self.steps} steps on safe answers to other prompts.",
            "one_shot": "It was tuned on for ten steps on one safe answer (arXiv 2601.01887).",
        }[self.defence]


class Candidate(GivenConfig):
    """A tuned model, and how it is mended before it is asked."""

    mend: Mend | None = None
    """None leaves it as it is."""


class RepairConfig(CheckConfig):
    """Everything `securetune repair` needs: a check of one tuned model, and ways to mend it."""

    tuned: Mapping[str, Candidate] = Field(min_length=1, max_length=1)
    """The tuned model; once it is known to be broken, the candidates too."""
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(0.9, 0.8, 0.6, 0.4, 0.2), min_length=1)
    """Shares of the tuning's change that WiSE-FT is tried with."""
    plan: FilePath | None = None
    """A plan; WiSE-FT is tried on what it holds back, too."""
    unaligned: ModelPath | None = None
    """The model before its alignment; with it SafeLoRA and RESTA are tried, too."""
    safety_adapter: Annotated[str, GivenContent()] | None = None
    """An adapter tuned on safe answers; with it and `unaligned` SafeMERGE is tried, too."""
    safety: DataConfig | Literal["self"] = "self"
    """Rows with safe answers, on which the tuned model takes some steps; the default are the refusals and answers of
    the model before tuning."""
    steps: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = (3, 10, 30)
    """How many are tried, beside the one-shot patch; with none of them that is not tried either."""

    @property
    def name(self) -> str:
        """What tables call the tuned model."""
        return next(iter(self.tuned))

    @property
    def candidates(self) -> dict[str, Candidate]:
        """The mended models by name; first those that stay nearest to the tuned one."""
        given = self.tuned[self.name]
        return {mend.title: given.model_copy(update={"mend": mend}) for mend in self._mends()}

    def _mends(self) -> Iterator[Mend]:
        for share in sorted(set(self.shares), reverse=True):
            if self.plan is not None:
                yield Mend(defence="wise_ft", share=share, plan=self.plan)
            yield Mend(defence="wise_ft", share=share)
        if self.unaligned is not None:
            if self.tuned[self.name].adapter is not None:
                yield Mend(defence="safe_lora", unaligned=self.unaligned)
            yield Mend(defence="resta", unaligned=self.unaligned)
            if self.safety_adapter is not None:
                yield Mend(defence="safe_merge", unaligned=self.unaligned, safety_adapter=self.safety_adapter)
        safety = self.safety if isinstance(self.safety, DataConfig) else None
        if self.steps:
            yield Mend(defence="one_shot", safety=safety)
        for steps in sorted(set(self.steps)):
            yield Mend(defence="safe_steps", safety=safety, steps=steps)

    def with_candidates(self) -> "RepairConfig":
        """The check of the tuned model and of all that can be made of it."""
        return self.model_copy(update={"tuned": {**self.tuned, **self.candidates}})

    @property
    def repaired(self) -> Path:
        """Folder of the mended model."""
        return Path(self.output).parent / REPAIRED


def repair_settings(
    model: str | Path,
    tuned: str | Path | Mapping[str, str | Path],
    *,
    output: str | Path | None = None,
    task: str | Path | None = None,
    safety: str | Path = OWN,
    settings: Mapping[str, Any] | None = None,
) -> RepairConfig:
    """The configuration of a repair.

    Args:
        model: folder or Hub id of the model before tuning.
        tuned: an adapter's folder, or a whole model's folder or Hub id; or that by its name.
        output: folder for everything; ``runs/repair-NAME`` by default, after the tuned model.
        task: file of the task's rows, by which the best of the mended models is chosen.
        safety: file of prompts with safe answers, or ``self`` for those of the model before tuning.
        settings: further fields of `RepairConfig`; a name with dots sets a field of a section, None leaves it out.

    Raises:
        ConfigError: a field is unknown, missing, out of range or given twice, or `output` is empty.
    """
    raw = raw_settings(model, tuned, task=task)
    raw["output"] = str(output_of(output, "repair", raw["tuned"]) / CHECK)
    given = {field: value for field, value in (settings or {}).items() if value is not None}
    if "output" in given:
        raise ConfigError(
            f"Expected the folder of a repair as --output, found {given['output']!r} under --set: the check and the "
            "mended model lie in it side by side. Give it as --output."
        )
    if safety != OWN:
        raw["safety"] = {"path": str(safety)}
    set_fields(raw, given, task=task)
    return validated(RepairConfig, raw, "what is to be repaired")


def check_repairable(config: RepairConfig, budgets: Budgets) -> None:
    """Look at everything that needs no weights, so that a mistake shows before hours of work.

    Raises:
        SecuretuneError: the first that cannot be used.
    """
    given = config.tuned[config.name]
    for model in (config.model, given):
        check_not_served(model.path)
    check_trainable(config.model.path)
    check_usable(config)
    if given.mend is not None or config.name in config.candidates:
        raise ConfigError(
            f"Expected a tuned model as it was tuned, under another name than a mended one's, found {config.name!r}. "
            "Rename its folder, and leave `mend` out."
        )
    if budgets.arms:
        raise ConfigError(
            f"Expected budgets for every model, found `arms` {list(budgets.arms)} in them: a repair tries models of "
            "its own names. Leave `arms` out."
        )
    if isinstance(config.safety, DataConfig):
        check_files([config.safety], [], config.seed, set())
    (_check_whole if given.adapter is None else _check_adapter)(given, config)
    if config.plan is not None:
        Plan.load(config.plan)
    if config.unaligned is not None:
        _check_unaligned(config.unaligned, config.model)
    if config.safety_adapter is not None:
        _check_safety(config.safety_adapter, given, config)


def _check_adapter(given: GivenConfig, config: RepairConfig) -> None:
    """Make sure that nothing beside LoRA's factors and whole modules was trained."""
    del config
    assert given.adapter is not None
    settings = read_object(given.adapter / ADAPTER, ModelError)
    wanted: dict[str, tuple[object, ...]] = {
        "peft_type": ("LORA",),
        "use_dora": (False, None),
        "bias": ("none", None),
        "trainable_token_indices": (None,),
    }
    others = {name: settings.get(name) for name, values in wanted.items() if settings.get(name) not in values}
    if others:
        raise ModelError(
            f"Expected an adapter of LoRA's two factors in {given.path!r}, found {others} in its configuration. Merge "
            "it into the model, save that, and give the whole model."
        )


def _check_whole(given: GivenConfig, config: RepairConfig) -> None:
    """Make sure that the weights are numbers that can be mixed."""
    check_trainable(given.path)
    file = expanded(given.path) / "config.json"
    if config.model.load_in_4bit or (file.is_file() and read_object(file, ModelError).get("quantization_config")):
        raise ModelError(
            f"Expected whole weights in {given.path!r}, found quantized ones, which cannot be mixed with others. Give "
            "the adapter instead, or the model before it was quantized, without `load_in_4bit`."
        )


def _check_unaligned(path: str, model: ModelConfig) -> None:
    """Make sure that alignment has a direction, of numbers."""
    check_model(path)
    if is_same_model(GivenConfig(path=path), model):
        raise ModelError(
            f"Expected the model before its alignment at {path!r}, found the weights of {model.path!r} itself. Give "
            "the base that it was aligned from, or leave `unaligned` out."
        )
    if model.load_in_4bit:
        raise ConfigError(
            "Expected whole weights to compare with the model before its alignment, found `load_in_4bit`. Leave that "
            "or `unaligned` out."
        )


def _check_safety(adapter: str, given: GivenConfig, config: RepairConfig) -> None:
    if config.unaligned is None or given.adapter is None:
        lacking = "no model before its alignment" if config.unaligned is None else "a whole model as the tuned one"
        raise ConfigError(
            f"Expected an adapter to mend and the model before its alignment (unaligned) for SafeMERGE, found "
            f"{lacking}. Give what lacks, or leave the safety adapter out."
        )
    if adapter_folder(adapter) is None:
        raise ModelError(
            f"Expected the folder of a safety adapter at {adapter!r}, found no adapter_config.json there. Give the "
            "folder that `save_pretrained` wrote."
        )
    check_given(GivenConfig(path=adapter), config.model)
