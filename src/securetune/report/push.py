"""Push: how does a published model get to the Hub, and is it known beforehand that it can?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from securetune.errors import ConfigError, MachineError


def check_push(repo: str) -> None:
    """Make sure that a repository can be called so, and that the Hub knows who is asking.

    Raises:
        ConfigError: another name is needed.
        MachineError: nobody is logged in, or the Hub cannot be reached.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(
            f"Expected the id of a repository on the Hub, found {repo!r}. Write for example me/my-adapter."
        ) from error
    with _told(repo, "Log in (hf auth login), and mend the network where it is at fault."):
        HfApi().whoami()


def push(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload a published folder; a repository that is there gets the files beside its own.

    Args:
        folder: what `publish` has written.
        repo: id on the Hub; it is made where it is not there.
        private: nobody else may see it; refused where it is there and public.

    Returns:
        Where it lies.

    Raises:
        ConfigError: it should be private and is public.
        MachineError: the Hub refuses, or cannot be reached; the folder stays as it is.
    """
    api = HfApi()
    with _told(repo, f"Then upload what is ready: {by_hand(folder, repo, private=private)}"):
        place = api.create_repo(repo, private=True if private else None, exist_ok=True)
        is_public = private and not api.repo_info(place.repo_id).private
        if not is_public:
            api.upload_folder(repo_id=place.repo_id, folder_path=folder, commit_message="Tuned with securetune")
    if is_public:
        raise ConfigError(
            f"Expected a private repository {repo}, found a public one of that name. Nothing was uploaded. Name "
            "another, or leave --private out."
        )
    return str(place)


def by_hand(folder: Path, repo: str, *, private: bool) -> str:
    """The command that uploads a folder."""
    return f"hf upload {repo} {folder}{' --private' if private else ''}"


@contextmanager
def _told(repo: str, remedy: str) -> Iterator[None]:
    """Say in one line what the Hub refuses."""
    try:
        yield
    except Exception as error:  # the Hub client raises many kinds
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise MachineError(
            f"Expected the Hub to take {repo}, found: {reason}. Check the name and what your token may do. {remedy}"
        ) from error
