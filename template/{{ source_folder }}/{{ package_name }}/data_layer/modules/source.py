"""What Python files import of the data layer, read without importing any.

Nothing here needs more than the standard library, so that it answers when nothing else can.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

LAYER = Path(__file__).parents[1]
MODULES = ("timescaledb", "duckdb", "files", "redis")
# What an answer of its own decides.
PARTS = (*MODULES, "http")
FOLDERS = ("src", "tests", "migrations", "scripts")


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One import: in the file `path`, relative to the project, of the dotted `name`."""

    path: str
    line: int
    name: str

    def of(self, *packages: str) -> bool:
        """Whether it is of one of these packages, or of something in it."""
        return f"{self.name}.".startswith(tuple(f"{package}." for package in packages))


def is_on(part: str) -> bool:
    """Whether a part of the layer is here; of one that was, compiled files may be left."""
    return (LAYER / part / "__init__.py").is_file()


def imports(project: Path) -> Iterator[Import]:
    """Every import in the project's Python files, those of the layer itself excluded.

    A file that is no Python, for example since an update left conflicts in it, has none.
    """
    for folder in FOLDERS:
        for file in sorted((project / folder).rglob("*.py")):
            path = file.relative_to(project)
            if path.parts[2:3] == ("data_layer",) or "data_layer" in path.parts[:2]:
                continue
            try:
                tree = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError):
                continue
            package = ".".join(path.parent.parts[path.parts[0] == "src" :])
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    for name in _names(node, package):
                        yield Import(path.as_posix(), node.lineno, name)


def _names(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """What an import names; of `from a import b` both, since `b` may be a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    relative = "." * node.level + (node.module or "")
    try:
        base = resolve_name(relative, package)
    except ImportError:  # it leads out of its package
        return
    yield from (f"{base}.{alias.name}" for alias in node.names)


def of_switched_off(project: Path) -> list[str]:
    """A sentence for each import of a part of the layer that is not here, and what to do."""
    layer = f"{LAYER.parent.name}.{LAYER.name}"
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
        and (own := project / "src" / one.name.partition(".")[0]).is_dir()
        and not (own / "data_layer" / "__init__.py").is_file()
    }
    return [
        f"{one.path}:{one.line} imports {package}.data_layer, which an update has moved to "
        f"{LAYER.parent.name}: undo that update, since `package_name` must stay, and rename the "
        "package by hand if you want another name."
        for package, one in moved.items()
    ]
