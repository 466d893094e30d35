"""What docs/data-layer/adopt.md asks for, and which of its lines a project lacks.

The page is the only place that lists them: a block names its file after its language. This module
needs only the standard library, since it runs before anything is installed.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from shlex import split
from typing import Any

from ..project import migrations_folder

PAGE = "docs/data-layer/adopt.md"
_BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([^]]*)\])?\s*([^;]*)")
_FLOOR = re.compile(r"[>=~]=\s*([\d.]+)")
_NAME = re.compile(r"\d{8}_\d{6}_[a-z0-9_]+\.py")
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OWN_SERVER = {
    "ops/postgres/": re.compile(r"image:.*(postg|timescale|pgvector)"),
    "ops/redis/": re.compile(r"image:.*(redis|valkey)"),
}


def missing(project: Path) -> Iterator[str]:
    """A sentence for each line of the page that the project lacks.

    Args:
        project: the folder that holds the answers file.
    """
    settings = _settings(project)
    for language, name, text in _BLOCK.findall((project / PAGE).read_text(encoding="utf-8")):
        if language == "sh" and not name:
            yield from _of_commands(project, settings, text)
        elif language == "toml":
            given = settings if name == "pyproject.toml" else _toml(project / name)
            wanted = {
                table: keys
                for table, keys in tomllib.loads(text).items()
                if table != "tool" or _used(settings, *keys)
            }
            yield from (f"{name} lacks {one}." for one in _lacks(wanted, given))
        elif name:
            yield from _LINES.get(name, _of_lines)(project, name, text)
    yield from _history(project)


def _toml(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _ini(file: Path) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(file, encoding="utf-8")
    return parser


def _settings(project: Path) -> dict[str, Any]:
    """pyproject.toml; where a tool has a settings file of its own, that file replaces its table."""
    told = _toml(project / "pyproject.toml")
    tool = told.setdefault("tool", {})
    for name in ("ruff.toml", ".ruff.toml"):
        if (project / name).is_file():
            tool["ruff"] = _toml(project / name)
    for name in ("pytest.ini", ".pytest.ini"):
        if (project / name).is_file():
            tool["pytest"] = {"ini_options": dict(_ini(project / name).items("pytest"))}
    for name in ("mypy.ini", ".mypy.ini"):
        if (project / name).is_file():
            silent = [
                section.removeprefix("mypy-")
                for section, keys in _ini(project / name).items()
                if keys.getboolean("ignore_errors")
            ]
            tool["mypy"] = {"overrides": [{"module": silent, "ignore_errors": True}]}
    return told


def _used(settings: dict[str, Any], tool: str) -> bool:
    """Whether the project uses a tool; the layer itself needs uv and pytest."""
    return tool in ("uv", "pytest", *settings["tool"]) or tool in _declared(settings)


def _declared(settings: dict[str, Any]) -> dict[str, list[re.Match[str]]]:
    """The dependencies of the project by name; a name may be declared more than once."""
    lists = [settings.get("project", {}).get("dependencies", [])]
    lists += settings.get("dependency-groups", {}).values()
    found: dict[str, list[re.Match[str]]] = {}
    for requirement in (one for listed in lists for one in listed if isinstance(one, str)):
        if told := _REQUIREMENT.match(requirement):
            found.setdefault(_plain(told[1]), []).append(told)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_commands(project: Path, settings: dict[str, Any], text: str) -> Iterator[str]:
    declared = _declared(settings)
    for line in text.splitlines():
        words = split(line, comments=True)
        if words[:1] == ["touch"] and not (project / words[1]).is_file():
            yield f"{words[1]} is missing: `{line}`."
        if words[:2] != ["uv", "add"]:
            continue
        options = {"--dev": words[2:3], "--group": words[2:4]}.get(words[2], [])
        for requirement in words[2 + len(options) :]:
            if not (wanted := _REQUIREMENT.match(requirement)):
                continue
            if not any(_serves(given, wanted) for given in declared.get(_plain(wanted[1]), [])):
                add = " ".join(["uv", "add", *options, f"'{requirement}'"])
                yield f"pyproject.toml lacks {requirement}: `{add}`."


def _serves(given: re.Match[str], wanted: re.Match[str]) -> bool:
    """Whether a declared dependency has the extras and the lowest version that are wanted."""
    extras = {part.strip() for part in (given[2] or "").split(",")}
    if not extras >= {part.strip() for part in (wanted[2] or "").split(",") if part}:
        return False
    if wanted[3].startswith("=="):
        return given[3].replace(" ", "") == wanted[3]
    floor, lowest = _FLOOR.search(given[3]), _FLOOR.search(wanted[3])
    return lowest is None or (floor is not None and _numbers(floor[1]) >= _numbers(lowest[1]))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part]


def _lacks(wanted: Any, given: Any, path: str = "") -> Iterator[str]:
    """The keys and the items of lists that `given` lacks, or has with another value."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            there = given.get(key) if isinstance(given, dict) else None
            yield from _lacks(value, there, f"{path}.{key}".strip("."))
    elif isinstance(wanted, list):
        items = given.split("\n" if "\n" in given else None) if isinstance(given, str) else given
        for item in wanted:
            if isinstance(item, dict):
                if not any(not [*_lacks(item, one)] for one in given or ()):
                    yield f"{path} with {item}"
            elif item not in [one.strip() for one in items or ()]:
                yield f"{path} with {item!r}"
    elif str(wanted).lower() != str(given).lower():
        yield f"{path} = {wanted!r}"


def _of_lines(project: Path, name: str, text: str) -> Iterator[str]:
    given = _lines(project / name)
    for line in text.splitlines():
        if line and line not in given:
            yield f"{name} lacks the line {line}"


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _of_names(project: Path, name: str, text: str) -> Iterator[str]:
    given = {line.partition("=")[0].strip() for line in _lines(project / name)}
    for line in text.splitlines():
        if line.partition("=")[0] not in given:
            yield f"{name} lacks the line {line}"


def _of_conftest(project: Path, name: str, text: str) -> Iterator[str]:
    if "tests.data_layer.fixtures" not in "\n".join(_lines(project / name)):
        yield f"{name} lacks the line {text.strip()}"


def _of_alembic(project: Path, name: str, text: str) -> Iterator[str]:
    if not (project / name).is_file():
        yield f"{name} is missing: `uv run alembic init migrations`."
        return
    given, wanted = _ini(project / name), ConfigParser(interpolation=None)
    wanted.read_string(text)
    for key, value in wanted.items("alembic"):
        if given.get("alembic", key, fallback=None) != value:
            yield f"{name} lacks {key} = {value}"


def _of_environment(project: Path, name: str, text: str) -> Iterator[str]:
    folder = migrations_folder(project)
    given = _lines(project / folder / name)
    begun = [line.partition("(")[0] for line in given]
    for line in text.splitlines():
        if line and line.partition("(")[0] not in begun:
            yield f"{folder}/{name} lacks the line {line}"
    for number, line in enumerate(given, start=1):
        if line.startswith("def run_migrations"):
            yield f"{folder}/{name}:{number} still runs migrations: delete all of it from here on."


def _of_compose(project: Path, name: str, text: str) -> Iterator[str]:
    files = [project / one for one in _COMPOSE if (project / one).is_file()]
    given = "\n".join(line for file in files for line in _lines(file))
    for line in text.splitlines():
        for folder, own in _OWN_SERVER.items():
            if files and folder in line and folder not in given and not own.search(given):
                yield f"{files[0].name} includes no {line.strip(' -')}"


def _history(project: Path) -> Iterator[str]:
    """Migrations from before the layer: `migrations_baseline` must tell them from later ones."""
    versions = project / migrations_folder(project) / "versions"
    old = sorted(file.name for file in versions.glob("*.py") if not _NAME.fullmatch(file.name))
    given = _ini(project / "alembic.ini")
    if old and not given.get("alembic", "migrations_baseline", fallback=""):
        yield (
            f"alembic.ini lacks migrations_baseline: {old[0]}{' and others' if old[1:] else ''} "
            "came before the rules, so name the revision that `uv run alembic heads` shows."
        )


_LINES: dict[str, Callable[[Path, str, str], Iterator[str]]] = {
    ".env.example": _of_names,
    "alembic.ini": _of_alembic,
    "compose.yaml": _of_compose,
    "env.py": _of_environment,
    "tests/conftest.py": _of_conftest,
}
