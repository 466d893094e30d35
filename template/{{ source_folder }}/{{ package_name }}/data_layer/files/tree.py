"""The folders of the data tree, and safe paths within it."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath

from ..settings import load
from .errors import FilesError
from .settings import FilesSettings

README = "README.md"


class Folder(StrEnum):
    """The five folders of the standard."""

    RAW = "raw"
    PROCESSED = "processed"
    EXTERNAL = "external"
    CACHE = "cache"
    SAMPLES = "samples"


PURPOSE = {
    Folder.RAW: "Original source data: downloads and exports, never edited",
    Folder.PROCESSED: "What a pipeline made of raw data, and can make again",
    Folder.EXTERNAL: "Reference data of third parties",
    Folder.CACHE: "Temporary files, safe to delete",
    Folder.SAMPLES: "Small data for the tests, tracked by git",
}

SOURCES = """\
# Data

Where every file comes from, and under which licence it may be used. Each source gets a line here
before its first file.

| source | what | from | licence | how it gets here |
|---|---|---|---|---|
"""


def printable(path: object) -> str:
    """A path as text that can be printed, although its bytes may be no UTF-8."""
    return str(path).encode(errors="backslashreplace").decode()


class DataTree:
    """A data tree: five folders below one root.

    Serves DL-FI-01. Paths within it are written with `/` and relative to the root, on every
    system and on the remote alike: `raw/binance_btcusdt_1h_20230101_20231231.parquet`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @classmethod
    def of_settings(cls, settings: FilesSettings | None = None) -> "DataTree":
        """The tree of `FILES_ROOT`."""
        return cls((settings or load(FilesSettings)).folder())

    def folder(self, folder: Folder) -> Path:
        """One of the five folders, whether it is there or not."""
        return self.root / folder.value

    def missing(self) -> list[Folder]:
        """The folders that are not there."""
        return [folder for folder in Folder if not self.folder(folder).is_dir()]

    def create(self) -> list[Folder]:
        """Create the folders that are missing, and return those."""
        missing = self.missing()
        for folder in missing:
            self.folder(folder).mkdir(parents=True, exist_ok=True)
        return missing

    def write_readmes(self) -> list[Path]:
        """Write the missing READMEs, which git tracks, and return their paths."""
        texts = {
            self.folder(one) / README: f"# {one.title()}\n\n{PURPOSE[one]}.\n" for one in Folder
        }
        texts[self.root / README] = SOURCES
        missing = {path: text for path, text in texts.items() if not path.exists()}
        for path, text in missing.items():
            path.write_text(text, encoding="utf-8", newline="\n")
        return list(missing)

    def path(self, name: str) -> Path:
        """The file of a path within the tree.

        Raises:
            FilesError: the path is absolute, leaves the tree, is in none of its folders, hidden, or
            no UTF-8.
        """
        pure = PurePosixPath(name)
        folders = [folder.value for folder in Folder]
        inside = (
            len(pure.parts) > 1
            and pure.parts[0] in folders
            and not any(part.startswith(".") for part in pure.parts)
            and pure.as_posix() == name
            and not {"\\", "\0"} & set(name)
            and printable(name) == name
        )
        # A link within the tree may lead out of it, to another disk for example: that is the
        # choice of whoever made it. A path that a program was given may not.
        if not inside:
            raise FilesError(
                f"{name!r} is no path of the data tree; write one that begins with "
                f"{', '.join(f'{one}/' for one in folders)} and has no hidden part, for example "
                "raw/prices.csv."
            )
        return self.root / pure

    def name(self, path: Path) -> str:
        """The path within the tree of one of its files; the opposite of `path`.

        Raises:
            FilesError: the file is outside of the tree.
        """
        absolute = path if path.is_absolute() else Path.cwd() / path
        try:
            name = absolute.relative_to(self.root).as_posix()
        except ValueError:
            raise FilesError(f"{path} is not in the data tree {self.root}.") from None
        self.path(name)
        return name

    def files(self, *folders: Folder) -> Iterator[Path]:
        """The data files of these folders, or of all: no hidden ones, no README of a folder."""
        for folder in folders or tuple(Folder):
            for path in sorted(self.folder(folder).rglob("*")):
                parts = path.relative_to(self.root).parts
                hidden = any(part.startswith(".") for part in parts)
                if path.is_file() and not hidden and path.name != README:
                    yield path
