"""Names: which names that a user gives may become folders?"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from securetune.errors import ConfigError

_FIT = re.compile(r"\w[\w .+@%=,()-]*")
_LONGEST = 100


def names_folder(name: str) -> str:
    """The name itself, once it is sure that a folder of that name lies where it should.

    Raises:
        ValueError: it would lead elsewhere, or is too long.
    """
    if len(name) > _LONGEST:
        raise ValueError(f"{name[:20]!r}… cannot name a folder: it has more than {_LONGEST} characters")
    if _FIT.fullmatch(name) is None or name != name.strip():
        raise ValueError(
            f"{name!r} cannot name a folder: begin with a letter or digit, and use letters, digits, spaces and "
            ". _ - + @ % = , ( ) only"
        )
    return name


def names_thing(name: str) -> str:
    """The name itself, once it is sure that a table can show it.

    Raises:
        ValueError: nothing of it would be seen, or it is too long.
    """
    if not name.strip():
        raise ValueError(f"{name!r} cannot be a name: give it a letter")
    if len(name) > _LONGEST:
        raise ValueError(f"{name[:20]!r}… cannot be a name: it has more than {_LONGEST} characters")
    return name


def leads_somewhere(path: str) -> str:
    """The path itself, once it is sure that it is written out.

    Raises:
        ValueError: it is empty.
    """
    if not path.strip():
        raise ValueError("an empty path: name a folder")
    return path


def output_folder(path: str | Path) -> Path:
    """The folder that a caller names for results.

    Raises:
        ConfigError: the path is empty, which would be the folder where one stands.
    """
    if not str(path).strip():
        raise ConfigError(f"Expected a folder for the output, found the empty path {str(path)!r}. Name one.")
    return Path(path)


Name = Annotated[str, AfterValidator(names_thing)]
"""A name in tables."""
OutputFolder = Annotated[str, AfterValidator(leads_somewhere)]
"""Where results are put."""
FolderName = Annotated[str, AfterValidator(names_folder)]
"""A name that becomes a folder, or a part of one's name."""
