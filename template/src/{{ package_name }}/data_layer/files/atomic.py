"""Writing a file so that nobody ever sees half of it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FilesError

PART = ".part"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new file to write beside `target`, which it replaces when the block ends without an error.

    The file is hidden and ends in `.part`, so no pattern for data finds it. Its content and the
    new name are on the disk when the block is left; a crash before leaves `target` as it was.

    Raises:
        FilesError: the disk refuses the file or its name.
    """
    part = target.parent / f".{target.name}.{secrets.token_hex(6)}{PART}"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch(exist_ok=False)
    try:
        yield part
        with writing(target):
            publish(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Around what only the disk can refuse: a full one or a name too long becomes a sentence.

    Raises:
        FilesError: it did.
    """
    try:
        yield
    except OSError as error:
        raise FilesError(f"{target} can't be written: {error.strerror or error}.") from None


def publish(part: Path, target: Path) -> None:
    """Give a complete file its name, on the disk too when this returns."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def leftovers(root: Path) -> Iterator[Path]:
    """Files below `root` that a killed process has not completed, or another still writes."""
    yield from sorted(path for path in root.rglob(f".*{PART}") if path.is_file())
