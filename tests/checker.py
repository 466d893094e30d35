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
    programs = environment / "bin"
    with locked(CACHE / f"mypy-{python_version}.lock"):
        run(
            *(programs / "mypy", "--cache-dir", CACHE / "mypy"),
            *("--python-executable", programs / "python", *paths),
            cwd=project,
        )
