"""Machine: what is said where a disk is full, or a folder is missing or read-only?

Libraries that write by native code raise errors of their own kinds, so their texts are read for the system's number.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from securetune.errors import MachineError, SecuretuneError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
_AGAIN = "Then give the same command again: what is finished is kept."
_NUMBER = re.compile(r"os error (\d+)")
_TORCH_WRITER = ("PytorchStreamWriter failed", "file write failed", "inline_container.cc", "basic_ios::clear")
"""What torch says where it could not write all of a file; it keeps the reason to itself."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say it plainly where the machine refuses to write `path`, or what belongs to it.

    Raises:
        MachineError: it does. Every other error passes.
    """
    try:
        yield
    except SecuretuneError:
        raise
    except Exception as error:
        if (number := _refusal(error)) is None:
            raise
        place = _place(error)
        is_temporary = place is None or Path(place).name.startswith(f".{path.name}.")
        raise MachineError(_sentence(number, str(path) if is_temporary else str(place))) from error


def trouble(error: Exception) -> str | None:
    """What to say of an error that the machine is the cause of; None where it is not."""
    number = _refusal(error)
    if number is not None:
        return _sentence(number, _place(error) or "a file")
    if not isinstance(error, OSError):
        return None
    return f"Expected the machine and its network to do as asked, found: {error}. Mend that. {_AGAIN}"


def _refusal(error: BaseException) -> int | None:
    """The system's number of the first error in a chain that it has refused something with."""
    known = _NO_ROOM | _FORBIDDEN | _IN_THE_WAY | {errno.ENOENT, errno.EIO}
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in known:
            return seen.errno
        if not isinstance(seen, OSError):
            written = _NUMBER.search(str(seen))
            if written and int(written[1]) in known:
                return int(written[1])
            if isinstance(seen, RuntimeError) and any(words in str(seen) for words in _TORCH_WRITER):
                return next((number for number in known if os.strerror(number) in str(seen)), errno.ENOSPC)
        seen = seen.__cause__ or seen.__context__
    return None


def _place(error: BaseException) -> str | None:
    """The file that an error names."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.filename is not None:
            return str(os.fsdecode(seen.filename))
        seen = seen.__cause__ or seen.__context__
    return None


def _sentence(number: int, place: str) -> str:
    reason = os.strerror(number)
    if number in _NO_ROOM:
        return f"Expected room on the disk for {place}, found none ({reason}). Free some. {_AGAIN}"
    if number in _FORBIDDEN:
        return (
            f"Expected to be allowed to write {place}, found that the machine refuses ({reason}). Make its folder "
            f"writable, or choose another output. {_AGAIN}"
        )
    if number == errno.ENOENT:
        parent = Path(place).parent
        if parent.is_dir():
            return f"Expected {place}, found nothing there ({reason}). Check the path. {_AGAIN}"
        return f"Expected a folder at {parent} for {Path(place).name}, found none. Make it first."
    if number in _IN_THE_WAY:
        return f"Expected to write {place}, found something else in the way ({reason}). Choose another place."
    return f"Expected to read and write {place}, found {reason}. Look after the disk. {_AGAIN}"
