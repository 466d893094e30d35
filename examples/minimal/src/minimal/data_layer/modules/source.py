"""What Python files import of the data layer, read without importing any.

Nothing here needs more than the standard library, so that it answers when nothing else can.
"""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

from ..project import PACKAGE

LAYER = Path(__file__).parents[1]
MODULES = ("timescaledb", "duckdb", "files", "redis")
# The parts that have an answer of their own.
PARTS = (*MODULES, "http")
# Where Python files are, beside the packages.
FOLDERS = ("tests", "migrations", "scripts")


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One import: in the file `path`, relative to the project, of the dotted `name`."""

    path: str
    line: int
    name: str

    def of(self, *packages: str) -> bool:
        """Whether the name is one of these packages, or something in one of them."""
        return f"{self.name}.".startswith(tuple(f"{package}." for package in packages))


def is_on(part: str) -> bool:
    """Whether a part of the layer is here; a removed part may have left compiled files."""
    return (LAYER / part / "__init__.py").is_file()


def imports(project: Path) -> Iterator[Import]:
    """Every import in the project's Python files, those of the layer itself excluded.

    A file that is not valid Python, for example since an update left conflicts in it, has none.
    """
    for file in _python_files(project):
        path = file.relative_to(project).as_posix()
        module = dotted(project, path)
        if module.split(".")[1:2] == ["data_layer"]:
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        package = module.rpartition(".")[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in _names(node, package):
                    yield Import(path, node.lineno, name)


def packages(project: Path) -> str:
    """The folder of the packages, relative to the project; a dot for the project's own folder."""
    folder = LAYER.parents[1].resolve()
    inside = folder.is_relative_to(project.resolve())
    return folder.relative_to(project.resolve()).as_posix() if inside else "src"


def dotted(project: Path, path: str) -> str:
    """The dotted name by which a file or a folder of the project is imported."""
    return path.removeprefix(f"{packages(project)}/").removesuffix(".py").replace("/", ".")


def code_folders(project: Path) -> list[str]:
    """The folders that code stands in, relative to the project."""
    if (folder := packages(project)) != ".":
        return [folder]
    found = {file.parent.name for file in project.glob("*/__init__.py")}
    return sorted(found - {*FOLDERS})


def _python_files(project: Path) -> Iterator[Path]:
    for folder in (*code_folders(project), *FOLDERS):
        found = []
        for here, below, names in os.walk(project / folder):
            below[:] = [one for one in below if one != "node_modules" and not one.startswith(".")]
            found += [Path(here, name) for name in names if name.endswith(".py")]
        yield from sorted(found)


def _names(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """The dotted names of an import; `from a import b` gives `a.b`, since `b` may be a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    relative = "." * node.level + (node.module or "")
    try:
        base = resolve_name(relative, package)
    except ImportError:  # the import leads out of its package
        return
    yield from (f"{base}.{alias.name}" for alias in node.names)


def of_switched_off(project: Path) -> list[str]:
    """A sentence for each import of a part of the layer that is not here, and what to do."""
    layer = f"{PACKAGE}.{LAYER.name}"
    off = [part for part in PARTS if not is_on(part)]
    found: dict[tuple[str, int], str] = {}
    for one in imports(project):
        for part in off:
            if one.of(f"{layer}.{part}"):
                found.setdefault(
                    (one.path, one.line),
                    f"{one.path}:{one.line} imports data_layer.{part}, which is switched off: "
                    "delete the file, or switch it on.",
                )
    return list(found.values())


def of_another_package(project: Path) -> list[str]:
    """A sentence for each package of the project whose layer has moved into another."""
    moved = {
        one.name.partition(".")[0]: one
        for one in imports(project)
        if one.name.split(".")[1:2] == ["data_layer"]
        and (own := project / packages(project) / one.name.partition(".")[0]).is_dir()
        and not (own / "data_layer" / "__init__.py").is_file()
    }
    return [
        f"{one.path}:{one.line} imports {package}.data_layer, which an update has moved to "
        f"{PACKAGE}: undo that update, since `package_name` must stay, and rename the "
        "package by hand if you want another name."
        for package, one in moved.items()
    ]
