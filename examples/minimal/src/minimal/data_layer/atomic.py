"""Write a file so that nobody ever sees half of it."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DataLayerError

PART = ".part"


class NotWritten(DataLayerError):
    """The disk refuses a file: it is full, the name is too long, the folder is not ours."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new file beside `target`; it replaces `target` when the block ends without an error.

    The new file is hidden and ends in `.part`, so no pattern for data finds it. When the block is
    left, the content and the name are on the disk. A crash before that leaves `target` as it was.
    Write into the file that is there: one that is renamed over it can't be published.

    Raises:
        NotWritten: the disk refuses the file or its name.
    """
    part = target.parent / f".{target.name}.{secrets.token_hex(6)}{PART}"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        # The kernel frees the lock however the process ends; `leftovers` looks for it.
        fcntl.flock(held, fcntl.LOCK_EX)
        yield part
        with writing(target):
            publish(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(held)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the disk refuses in this block into a sentence about `target`.

    Raises:
        NotWritten: it refused something.
    """
    try:
        yield
    except OSError as error:
        raise NotWritten(f"{target} can't be written: {error.strerror or error}.") from None


def publish(part: Path, target: Path) -> None:
    """Give a complete file its name; when this returns, both are on the disk."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield the `.part` files at any depth below `folder` that no process writes any more."""
    for path in sorted(folder.rglob(f".*{PART}")):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, IsADirectoryError, BlockingIOError):
            continue
        yield path
