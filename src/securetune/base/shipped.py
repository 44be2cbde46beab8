"""Shipped: which configurations come with the package, and where do they lie?

A wheel carries them inside the package; in a checkout they are the repository's own folder ``configs/``.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from securetune.base.near import did_you_mean
from securetune.errors import ConfigError

_RUNNABLE = ("run", "compare")


@dataclass(frozen=True, kw_only=True)
class ShippedConfig:
    """A configuration to run as it is, or to start from."""

    name: str
    """Its folder and file name, for example ``run/demo``."""
    path: Path
    comment: tuple[str, ...]
    """The lines it begins with: the command that takes it, then what it is for."""

    @property
    def command(self) -> str:
        """The command that takes it, for example ``securetune run``."""
        return self.comment[0].removeprefix("# ").rpartition(" ")[0]


def configs_folder() -> Path:
    """The folder of all shipped configurations.

    Raises:
        ConfigError: the installation has none.
    """
    package = Path(str(resources.files("securetune")))
    folders = (package / "configs", package.parents[1] / "configs")
    for folder in folders:
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"Expected the shipped configurations in {folders[0]}, found no such folder. Install securetune again."
    )


def shipped_configs() -> list[ShippedConfig]:
    """All that can be run, sorted by name; the bases that they share are left out."""
    folder = configs_folder()
    paths = {f"{part}/{path.stem}": path for part in _RUNNABLE for path in (folder / part).glob("*.yaml")}
    return [ShippedConfig(name=name, path=path, comment=_first_comment(path)) for name, path in sorted(paths.items())]


def shipped_config(name: str) -> ShippedConfig:
    """The one called `name`, with or without its folder: ``run/demo`` or ``demo``.

    Raises:
        ConfigError: no such configuration; the message holds a near match and the whole list.
    """
    configs = {config.name: config for config in shipped_configs()}
    short = {config.path.stem: config for config in configs.values()}
    if name in configs or name in short:
        return configs.get(name) or short[name]
    hint = did_you_mean(name, [*configs, *short])
    raise ConfigError(
        f"Expected a configuration that ships with securetune, found {name!r}.{hint} "
        f"Choose one of: {', '.join(configs)}."
    )


def _first_comment(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8").split("\n")
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return tuple(lines[:end])
