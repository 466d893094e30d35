"""What `check` asks about modules that came or went, and about updates: DL-UP.

They read only files, so that they answer without a server and without settings.
"""

import asyncio
import os
from pathlib import Path

from dotenv import dotenv_values

from ..checklist import Check, Finding, advice, failed, passed
from ..project import ADOPTED, COMMAND, PACKAGE, root
from . import source, update


def update_checks() -> list[Check]:
    """The checks of the template's updates, in the order of the report."""
    return [
        Check(
            "DL-UP-01",
            "Nothing imports a module that is switched off",
            _imports,
            of_repository=True,
        ),
        Check("DL-UP-02", "No update is left half merged", _merged, of_repository=True),
        Check("DL-UP-03", "The answers are those that Copier wrote", _answers, of_repository=True),
        Check(
            "DL-UP-04",
            "The project has one package with a data layer",
            _package,
            of_repository=True,
        ),
        Check(
            "DL-UP-05",
            "The settings of .env.example are set",
            _settings,
            required=False,
            of_repository=True,
        ),
        Check(
            "DL-UP-06",
            "The HTTP API has an application",
            _application,
            required=False,
            of_repository=True,
        ),
    ]


# The checks that parse files do so on the event loop: Python 3.11 and 3.12 count the depth of a
# syntax tree for all threads together, and fail when two threads parse at once.
async def _imports() -> Finding:
    found = source.of_switched_off(root())
    return failed(*_first(found)) if found else passed("All that is imported is here.")


async def _merged() -> Finding:
    found = await asyncio.to_thread(update.unfinished, root())
    return failed(*_first(found)) if found else passed("There is no conflict and no rejected hunk.")


def _first(sentences: list[str]) -> tuple[str, str]:
    """Split sentences of the form "what is wrong: what to do", and join the parts of each kind."""
    evidence, remedies = zip(*(one.split(": ", 1) for one in sentences), strict=True)
    return f"{'; '.join(evidence)}.", " ".join(dict.fromkeys(_sentence(one) for one in remedies))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


async def _answers() -> Finding:
    problem = update.edited_answers(root())
    return failed(*_first([problem])) if problem else passed(f"{update.ANSWERS} is as written.")


async def _package() -> Finding:
    found = source.of_another_package(root())
    return failed(*_first(found)) if found else passed(f"It is {PACKAGE}.")


async def _settings() -> Finding:
    file = root() / ".env"
    if not file.is_file() and "DATABASE_URL" in os.environ:
        return passed("There is no .env; the settings come from the environment.")
    here = _names(file) if file.is_file() else set()
    example = _names(root() / ".env.example")
    if missing := sorted(example - here - os.environ.keys()):
        return advice(
            f".env lacks {', '.join(missing)}.",
            f"`uv run {COMMAND} init` adds them; what is set stays as it is.",
        )
    return passed(f"All {len(example)} are.")


def _names(file: Path) -> set[str]:
    return set(dotenv_values(file, interpolate=False))


async def _application() -> Finding:
    if not source.is_on("http"):
        return passed("http_api is off.")
    calls = tuple(f".data_layer.http.{name}" for name in ("create_api", "install"))
    if any(one.name.endswith(calls) for one in source.imports(root())):
        return passed("It has the data layer.")
    return advice(
        "http_api is on, and no file imports create_api.",
        "Call install(app), as docs/data-layer/adopt.md shows it."
        if ADOPTED
        else f"Write src/{PACKAGE}/app.py as docs/data-layer/http.md shows it.",
    )
