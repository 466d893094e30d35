"""The record of the files: where each came from and when, its hash, its rows, its licence."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ..atomic import replacing, writing
from .errors import FilesError
from .formats import row_count, what_instead_of_data
from .tree import DataTree

NAME = "manifest.jsonl"


class Entry(BaseModel):
    """One file as it was when it was recorded. Serves DL-FI-07.

    Attributes:
        path: the path within the data tree, such as `raw/prices.csv`.
        source: who the data come from, as data/README.md names it.
        url: where the file was downloaded from, or None for a file that was made here.
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
    """The record of a data tree, one line of JSON for each file; several processes may write it."""

    def __init__(self, tree: DataTree) -> None:
        self.tree = tree
        self.file = tree.root / NAME

    def entries(self) -> dict[str, Entry]:
        """Every recorded file by its path, in the order in which they were recorded.

        Raises:
            FilesError: a line is not what `record` writes.
        """
        if not self.file.exists():
            return {}
        found = {}
        # Not splitlines, which also splits at characters that a text in JSON may hold.
        lines = self.file.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                entry = Entry.model_validate_json(line)
            except ValidationError as error:
                reason = error.errors(include_url=False, include_input=False)[0]["msg"]
                raise FilesError(
                    f"Line {number} of {self.file} can't be read ({reason}); correct or delete it."
                ) from None
            found[entry.path] = entry
        return found

    def record(self, path: str, *, source: str, licence: str, url: str | None = None) -> Entry:
        """Record a file that is there, and return the entry.

        Args:
            path: within the data tree.
            source: who the data come from.
            licence: under which they may be used.
            url: where the file was downloaded from, if it was.

        Raises:
            FilesError: there is no such file, or it holds a page of HTML or a pointer of Git LFS.
        """
        file = self.tree.path(path)
        if not file.is_file():
            raise FilesError(f"There is no file {file} to record.")
        if instead := what_instead_of_data(file):
            raise FilesError(f"{file} holds {instead}, so it is not recorded.")
        entry = Entry(
            path=path,
            source=source,
            url=url,
            sha256=hash_of(file),
            size=file.stat().st_size,
            rows=row_count(file),
            licence=licence,
            time=datetime.now(UTC),
        )
        with self._locked():
            entries = self.entries()
            entries.pop(path, None)
            self._write([*entries.values(), entry])
        return entry

    def forget(self, *paths: str) -> None:
        """Drop files from the record, for example after they were deleted on purpose.

        Raises:
            FilesError: one of them is not recorded; none is dropped then.
        """
        with self._locked():
            entries = self.entries()
            if unknown := sorted(set(paths) - set(entries)):
                raise FilesError(f"The manifest has no {', '.join(unknown)}.")
            self._write(entry for path, entry in entries.items() if path not in paths)

    def _write(self, entries: Iterable[Entry]) -> None:
        with replacing(self.file) as part, writing(self.file):
            part.write_text(
                "".join(f"{entry.model_dump_json()}\n" for entry in entries), encoding="utf-8"
            )

    def _locked(self) -> FileLock:
        self.tree.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.file.with_name(f".{NAME}.lock"))


def hash_of(path: Path) -> str:
    """The SHA-256 of a file in lowercase hexadecimal digits; reads it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
