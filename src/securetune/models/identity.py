"""Identity: what tells one model from another without reading it whole? No torch."""

import os
from pathlib import Path

from pydantic import BaseModel

from securetune.base.artifacts import digest, digest_path
from securetune.base.fingerprint import Content
from securetune.base.places import expanded, looks_local
from securetune.errors import ModelError
from securetune.models.served import address_and_name, check_not_served, is_served
from securetune.models.source import ADAPTER, ADAPTER_WEIGHTS, adapter_folder, below, check_gguf, is_adapter, is_gguf


class ModelContent(Content):
    """Marks a text that names a model: a folder counts by its files' stamps, an id on the Hub by its commit."""

    def of(self, path: str, owner: BaseModel) -> object:
        """See `model_identity`; the revision is the field of that name beside the path."""
        return model_identity(path, getattr(owner, "revision", None))


def model_identity(path: str, revision: str | None) -> dict[str, str]:
    """What is hashed for a model: of a folder the name, size and time of every file, of the Hub the commit.

    Of an adapter it is its files and the model below it, of an endpoint the address and the model's name: what is
    served there, nobody can tell.

    Raises:
        ModelError: no such folder or Hub model.
    """
    if is_served(path):
        return dict(zip(("endpoint", "model"), address_and_name(path), strict=True))
    check_folder(path)
    folder, adapter = expanded(path), adapter_folder(path, revision)
    if adapter is not None:
        return {"adapter": digest(adapter_files(adapter)), "below": digest(model_identity(*below(adapter)))}
    if not os.path.exists(folder):
        return {"path": path, "revision": _commit(path, revision)}
    files = [folder] if folder.is_file() else sorted(p for p in folder.iterdir() if p.is_file())
    stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return {"path": str(folder), "stamp": digest(stamps)}


def adapter_files(adapter: Path) -> list[str]:
    """What is hashed for an adapter: what is in its files."""
    names = (ADAPTER, *ADAPTER_WEIGHTS)
    return [digest_path(adapter / name) for name in names if (adapter / name).is_file()]


def _commit(path: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    try:
        config = hf_hub_download(path, "config.json", revision=revision)
    except Exception as error:  # the Hub client raises many kinds
        raise unloadable(path, "model", error) from error
    return Path(config).parent.name  # the cache keeps the files of a commit in a folder of its name


def check_folder(path: str) -> None:
    """Make sure that a path that looks like a folder is one that holds a model or an adapter, or is a GGUF file.

    Raises:
        ModelError: nothing there, another file, a folder without a model, or an endpoint.
    """
    check_not_served(path)
    folder = expanded(path)
    if is_gguf(path) and not folder.is_dir():
        check_gguf(path)
        return
    if looks_local(path) and not os.path.exists(folder):
        first, *rest = Path(path).parts
        way = f" For the model of that name on the Hub, work where no folder is called {first!r}."
        is_id = len(rest) == 1 and not path.startswith((".", "/", "~"))
        raise ModelError(
            f"Expected a model folder at {path!r}, found nothing there. Check the path.{way if is_id else ''}"
        )
    if os.path.isfile(folder):
        raise ModelError(f"Expected a model folder at {path!r}, found a file. Give the folder that holds config.json.")
    if os.path.isdir(folder) and not (folder / "config.json").exists() and not is_adapter(folder):
        names = sorted(p.name for p in folder.iterdir())
        gguf = next((name for name in names if is_gguf(name)), None)
        raise ModelError(
            f"Expected config.json in the model folder {path!r}, found {names[:5] or 'an empty folder'}. "
            + ("Give the folder that `save_pretrained` wrote." if gguf is None else f"Give the file {gguf} itself.")
        )


def unloadable(path: str, what: str, error: Exception) -> ModelError:
    """The error of a model or tokenizer that cannot be loaded, with the reason's first line."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(
        f"Expected a loadable {what} at {path!r}, found: {reason.rstrip('.')}. "
        + (
            "Save it again with `save_pretrained`, or copy its files again."
            if os.path.isdir(expanded(path))
            else "Check the spelling, your access (hf auth login) and the network, or give a local folder."
        )
    )
