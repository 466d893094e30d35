"""What is recorded of the files: where each came from, when, its hash, its rows, its licence."""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ..atomic import replacing
from .errors import FilesError
from .formats import row_count
from .tree import DataTree

NAME = "manifest.jsonl"
_CHUNK = 1024 * 1024


class Entry(BaseModel):
    """One file as it was when it was recorded. Serves DL-FI-07.

    Attributes:
        path: within the data tree, such as `raw/prices.csv`.
        source: who the data come from, as data/README.md names it.
        url: where the file was downloaded, or None for one that was made here.
        time: when it was recorded.
        sha256: of the whole file, in lowercase hexadecimal digits.
        size: in bytes.
        rows: of a table; None for other files, and for a table that can't be read as it is.
        licence: under which the data may be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    source: str = Field(min_length=1)
    url: str | None
    time: AwareDatetime
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    rows: int | None = Field(ge=0)
    licence: str = Field(min_length=1)


class Manifest:
    """The record of a data tree: lines of JSON, of which the last one of a path holds.

    Lines are only added, under a lock, so that several processes may record at once; a line that
    a killed process left unfinished is dropped by the next one.
    """

    def __init__(self, tree: DataTree) -> None:
        self.tree = tree
        self.file = tree.root / NAME

    def entries(self) -> dict[str, Entry]:
        """Every recorded file by its path, in the order in which they were recorded.

        Raises:
            FilesError: a line is not what `record` writes.
        """
        found: dict[str, Entry] = {}
        for number, line in self._lines():
            try:
                entry = Entry.model_validate_json(line)
            except ValidationError as error:
                reason = error.errors(include_url=False, include_input=False)[0]["msg"]
                raise FilesError(
                    f"Line {number} of {self.file} can't be read ({reason}); correct or delete it."
                ) from None
            found.pop(entry.path, None)
            found[entry.path] = entry
        return found

    def record(
        self, path: str, *, source: str, licence: str, url: str | None = None, sha256: str = ""
    ) -> Entry:
        """Record a file that is there, and return the entry.

        Args:
            path: within the data tree.
            source: who the data come from.
            licence: under which they may be used.
            url: where the file was downloaded, if it was.
            sha256: when the caller has just computed it; else the file is read for it.
        """
        file = self.tree.path(path)
        if not file.is_file():
            raise FilesError(f"There is no file {file} to record.")
        entry = Entry(
            path=path,
            source=source,
            url=url,
            sha256=sha256 or hash_of(file),
            size=file.stat().st_size,
            rows=row_count(file),
            licence=licence,
            time=datetime.now(UTC),
        )
        with self._locked():
            self._append(entry)
        return entry

    def forget(self, path: str) -> None:
        """Drop a file from the record, as when it was deleted on purpose."""
        with self._locked():
            kept = [entry for entry in self.entries().values() if entry.path != path]
            with replacing(self.file) as part:
                part.write_text(
                    "".join(f"{entry.model_dump_json()}\n" for entry in kept), encoding="utf-8"
                )

    def _lines(self) -> Iterator[tuple[int, str]]:
        if not self.file.is_file():
            return
        # What is no UTF-8 is no JSON either, and told by its line.
        text = self.file.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        # Not splitlines: JSON lets some of the signs that it takes for ends of lines stand in text.
        yield from enumerate(whole.split("\n")[:-1], start=1)

    def _locked(self) -> FileLock:
        self.tree.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.file.with_name(f".{NAME}.lock"))

    def _append(self, entry: Entry) -> None:
        with self.file.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    # Whoever was killed while writing it must record its file again.
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(f"{entry.model_dump_json()}\n".encode())
            file.flush()
            os.fsync(file.fileno())


def hash_of(path: Path) -> str:
    """The SHA-256 of a file in lowercase hexadecimal digits; reads it in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
