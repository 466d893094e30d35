"""Writing a file so that nobody ever sees half of it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new file to write beside `target`, which it replaces when the block ends without an error.

    The file is hidden and ends in `.part`, so no pattern for data finds it. Its content and the
    new name are on the disk when the block is left; a crash before leaves `target` as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{target.name}.{secrets.token_hex(6)}{PART}"
    try:
        part.touch(exist_ok=False)
        yield part
        publish(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


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
