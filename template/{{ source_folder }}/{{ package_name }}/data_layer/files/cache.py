"""Local copies of remote files: a bounded folder, shared by every process of the machine."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from ..atomic import NEW, leftovers, replacing
from .errors import FilesError
from .sizes import readable

_STRIPES = 64


class FileCache:
    """A folder of copies that keeps to a size by evicting the least recently used ones.

    A copy belongs to one version of a remote file, so it is never out of date. A reader holds a
    shared lock on its copy, and a locked copy is never evicted. So the folder exceeds its limit
    while the copies in use exceed it.

    Args:
        folder: made when it is first needed; safe to delete while nobody uses it.
        limit: bytes that the copies may take together.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    @contextlib.contextmanager
    def copy(
        self, name: str, version: str, size: int, fill: Callable[[Path], None]
    ) -> Iterator[Path]:
        """A local copy of one version of a file, which stays until the block is left.

        Args:
            name: the file's path on the remote; the name of the copy ends in its last part.
            version: a text that changes whenever the file does, such as its ETag.
            size: of the file in bytes.
            fill: writes the content into a file; called by one process at a time, when there is no
                copy yet.

        Raises:
            FilesError: the file is larger than the cache may be.
        """
        key = hashlib.sha256(f"{name}\0{version}".encode()).hexdigest()[:32]
        target = self.folder / f"{key}-{name.rpartition('/')[2]}"
        filled = False
        while (held := _hold(target)) is None:
            with self._lock(f"{int(key, 16) % _STRIPES}"):
                if not target.exists():
                    self._fill(name, target, size, fill)
                    filled = True
        try:
            # Set the time of the last use, by which `evict` finds the least recently used copies.
            os.utime(target)
            if filled:
                self.evict(self.limit)
            yield target
        finally:
            os.close(held)

    def used(self) -> int:
        """The bytes that the copies take, those being filled included."""
        return sum(size for _, size, _ in self._copies())

    def evict(self, limit: int) -> tuple[int, int]:
        """Drop the least recently used copies until the rest takes at most `limit` bytes.

        Returns how many were dropped and how many bytes they had. Copies in use stay.
        """
        for part in leftovers(self.folder):
            part.unlink(missing_ok=True)
        copies = sorted(self._copies())
        used = sum(size for _, size, _ in copies)
        dropped = freed = 0
        for _, size, path in copies:
            if used - freed <= limit:
                break
            if _drop(path):
                dropped += 1
                freed += size
        return dropped, freed

    def _fill(self, name: str, target: Path, size: int, fill: Callable[[Path], None]) -> None:
        if size > self.limit:
            raise FilesError(
                f"{name} has {readable(size)} and does not fit into the cache; raise "
                f"FILES_CACHE_SIZE above its {readable(self.limit)}, or pull the file into data/."
            )
        self.evict(self.limit - size)
        with replacing(target) as part:
            fill(part)

    def _copies(self) -> list[tuple[int, int, Path]]:
        """The last use, the size and the path of every file."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            # After the listing, a file may have been dropped, or completed under its name.
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                # A copied file may be called `a.new`; a part that is being made is hidden as well.
                being_made = path.name.startswith(".") and path.suffix == NEW
                if path.is_file() and not being_made:
                    found.append((about.st_mtime_ns, about.st_size, path))
        return found

    def _lock(self, name: str) -> FileLock:
        locks = self.folder / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / name)


def _hold(path: Path) -> int | None:
    """A descriptor with a shared lock on the copy; None when it is not there (any more)."""
    try:
        held = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(held, fcntl.LOCK_SH)
    # It may have been dropped between opening and locking.
    if os.fstat(held).st_nlink:
        return held
    os.close(held)
    return None


def _drop(path: Path) -> bool:
    """Delete a copy that nobody holds; returns whether it did."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:
                return False  # somebody else dropped it, and the path may be that of a new copy
            path.unlink()
    except (FileNotFoundError, BlockingIOError):
        return False
    return True
