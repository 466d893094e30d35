"""Write a file so that nobody ever sees half of it."""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DataLayerError

PART = ".part"
NEW = ".new"  # a part that is not locked yet; it is empty
# An unlocked part that is older than these seconds counts as abandoned; a slower writer begins
# again.
SOON = 60.0


class NotWritten(DataLayerError):
    """The disk refuses a file: it is full, the name is too long, the folder is not ours."""


@contextmanager
def replacing(target: Path, ready: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Yield a new file beside `target`; it replaces `target` when the block ends without an error.

    The new file is hidden and ends in `.part`, so no pattern for data finds it. When the block is
    left, the content and the name are on the disk. A crash before that leaves `target` as it was.
    Write into the yielded file; don't rename another file over it.

    Args:
        target: the file to make or to replace.
        ready: is called when the content is on the disk, before the file gets its name; if it
            raises, `target` stays as it was.

    Raises:
        NotWritten: the disk refuses the file or its name.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while (begun := _begin(target)) is None:
            pass
    part, held = begun
    try:
        yield part
        with writing(target):
            os.fsync(held)
        ready()
        with writing(target):
            _publish(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(held)


def _begin(target: Path) -> tuple[Path, int] | None:
    """A locked part and its descriptor; None where another process removed it as abandoned."""
    part = target.parent / f".{target.name}.{secrets.token_hex(6)}{PART}"
    unlocked = part.with_suffix(NEW)
    held = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        # `leftovers` takes a part without a lock for abandoned: lock the file before its new name.
        # The kernel frees the lock however the process ends.
        fcntl.flock(held, fcntl.LOCK_EX)
        unlocked.rename(part)
    except FileNotFoundError:
        os.close(held)
        return None
    except BaseException:
        os.close(held)
        unlocked.unlink(missing_ok=True)
        raise
    return part, held


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an error of the disk in this block into a sentence about `target`.

    Raises:
        NotWritten: the disk refused something.
    """
    try:
        yield
    except OSError as error:
        raise NotWritten(f"{target} can't be written: {error.strerror or error}.") from None


def _publish(part: Path, target: Path) -> None:
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield the hidden files at any depth below `folder` that no process writes any more."""
    before = time.time() - SOON
    for path in sorted((*folder.rglob(f".*{PART}"), *folder.rglob(f".*{NEW}"))):
        try:
            if path.suffix == NEW and path.stat().st_mtime > before:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, IsADirectoryError, BlockingIOError):
            continue
        yield path
