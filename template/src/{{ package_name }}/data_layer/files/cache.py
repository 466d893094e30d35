"""Local copies of remote files: a bounded folder, shared by every process of the machine."""

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from ..atomic import PART, publish
from .errors import FilesError
from .sizes import readable

_STRIPES = 64
_STALE = 3600.0


class FileCache:
    """A folder of copies that keeps to a size by dropping what was used least recently.

    A copy belongs to one version of a remote file, so it is never wrong, only unused. Whoever
    reads one holds a shared lock on it, and what is locked is never dropped. What is being filled
    counts in full from its first byte, so that the bound holds while several processes fetch.

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
            version: what changes whenever the file does, such as its ETag.
            size: of the file in bytes.
            fill: writes the content into a file that has the size already; called by one process
                at a time, when there is no copy yet.

        Raises:
            FilesError: the file does not fit, or what `fill` wrote has another size.
        """
        key = hashlib.sha256(f"{name}\0{version}".encode()).hexdigest()[:32]
        target = self.folder / f"{key}-{name.rpartition('/')[2]}"
        while True:
            held = self._hold(target)
            if held is not None:
                break
            with self._lock(f"{int(key, 16) % _STRIPES}"):
                if not target.exists():
                    self._fill(name, target, size, fill)
        try:
            # The time of the last use, by which the least recently used copy is found.
            os.utime(target)
            yield target
        finally:
            os.close(held)

    def used(self) -> int:
        """The bytes that the copies take, those being filled included."""
        return sum(size for _, size, _ in self._copies())

    def evict(self, limit: int | None = None) -> tuple[int, int]:
        """Drop the least recently used copies until the rest takes at most `limit` bytes.

        Returns how many were dropped and how many bytes they had. Copies in use stay.
        """
        with self._lock("size"):
            return self._evict(self.limit if limit is None else limit)

    def _hold(self, target: Path) -> int | None:
        """A descriptor with a shared lock on the copy; None when it is not there (any more)."""
        try:
            held = os.open(target, os.O_RDONLY)
        except FileNotFoundError:
            return None
        fcntl.flock(held, fcntl.LOCK_SH)
        # It may have been dropped between opening and locking.
        if os.fstat(held).st_nlink:
            return held
        os.close(held)
        return None

    def _fill(self, name: str, target: Path, size: int, fill: Callable[[Path], None]) -> None:
        part = target.with_name(f".{target.name}{PART}")
        if size > self.limit:
            raise FilesError(
                f"{name} has {readable(size)} and does not fit into the cache; raise "
                f"FILES_CACHE_SIZE above its {readable(self.limit)}, or pull the file into data/."
            )
        with self._lock("size"):
            part.unlink(missing_ok=True)
            self._evict(self.limit - size)
            if self.used() + size > self.limit:
                raise FilesError(
                    f"The cache is full of files in use, so {name} ({readable(size)}) has no "
                    f"place; raise FILES_CACHE_SIZE above {readable(self.limit)}."
                )
            with part.open("wb") as file:
                file.truncate(size)
        try:
            fill(part)
            if part.stat().st_size != size:
                raise FilesError(f"{name} changed while it was fetched; try again.")
            with self._lock("size"):  # who counts meanwhile would find it under neither name
                publish(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _evict(self, limit: int) -> tuple[int, int]:
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

    def _copies(self) -> list[tuple[int, int, Path]]:
        """The last use, the size and the path of every file."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            # Between the listing and this it may be dropped, or completed under its name.
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                if stat.S_ISREG(about.st_mode):
                    found.append((about.st_mtime_ns, about.st_size, path))
        return found

    def _lock(self, name: str) -> FileLock:
        locks = self.folder / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / name)


def _drop(path: Path) -> bool:
    """Delete a copy that nobody holds, or what a killed process left of one; whether it was."""
    try:
        held = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Also one of the future: the clock may have been set back since.
        age = abs(time.time() - os.fstat(held).st_mtime)
        if path.name.startswith(".") and age < _STALE:
            return False  # somebody fills it
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True
