"""The type checker on projects, with one cache for each version of Python."""

from pathlib import Path

from tests.projects import CACHE, locked, run


def check_types(
    project: Path, environment: Path, *paths: str, python_version: str = "3.11"
) -> None:
    """Check a project of that version, or `paths` of it, in strict mode.

    The checker keeps what it knows by the name of a module and by its content, so that one cache
    serves all projects; but one process at a time.
    """
    mypy: list[str | Path] = [environment / "bin" / "mypy", "--cache-dir", CACHE / "mypy"]
    mypy += ["--python-executable", environment / "bin" / "python", *paths]
    with locked(CACHE / f"mypy-{python_version}.lock"):
        run(*mypy, cwd=project)
