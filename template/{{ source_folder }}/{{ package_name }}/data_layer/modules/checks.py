"""What `check` asks about modules that came or went, and about updates: DL-UP.

They read files alone, so that they answer without a server and without settings.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from dotenv import dotenv_values

from ..checklist import Check, Finding, advice, failed, passed
from ..project import ADOPTED, COMMAND, root
from . import source, update

Probe = Callable[[], Awaitable[Finding]]


def update_checks() -> list[Check]:
    """The checks of the template's updates, in the order of the report."""

    def check(number: int, title: str, probe: Probe, required: bool = True) -> Check:
        return Check(f"DL-UP-{number:02}", title, probe, required, of_repository=True)

    def reading(judge: Callable[[], Finding]) -> Probe:
        return partial(asyncio.to_thread, judge)

    def parsing(judge: Callable[[], Finding]) -> Probe:
        # On no thread of its own: Python 3.11 and 3.12 count the depth of a syntax tree for all
        # threads together, and fail where two of them parse at once.
        async def probe() -> Finding:
            return judge()

        return probe

    return [
        check(1, "Nothing imports a module that is switched off", parsing(_imports)),
        check(2, "No update is left half merged", reading(_merged)),
        check(3, "The answers are those that Copier wrote", reading(_answers)),
        check(4, "The project has one package with a data layer", parsing(_package)),
        check(5, "The settings of .env.example are set", reading(_settings), False),
        check(6, "The HTTP API has an application", parsing(_application), False),
    ]


def _imports() -> Finding:
    found = source.of_switched_off(root())
    return failed(*_first(found)) if found else passed("All that is imported is here.")


def _merged() -> Finding:
    found = update.unfinished(root())
    return failed(*_first(found)) if found else passed("There is no conflict and no rejected hunk.")


def _first(sentences: list[str]) -> tuple[str, str]:
    """What is wrong, and what to do, of sentences that say one after the other."""
    evidence, remedies = zip(*(one.split(": ", 1) for one in sentences), strict=True)
    return f"{'; '.join(evidence)}.", " ".join(dict.fromkeys(_sentence(one) for one in remedies))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _answers() -> Finding:
    problem = update.edited_answers(root())
    return failed(*_first([problem])) if problem else passed(f"{update.ANSWERS} is as written.")


def _package() -> Finding:
    found = source.of_another_package(root())
    name = source.LAYER.parent.name
    return failed(*_first(found)) if found else passed(f"It is {name}.")


def _settings() -> Finding:
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


def _application() -> Finding:
    if not source.is_on("http"):
        return passed("http_api is off.")
    calls = tuple(f".data_layer.http.{name}" for name in ("create_api", "install"))
    if any(one.name.endswith(calls) for one in source.imports(root())):
        return passed("It has the data layer.")
    return advice(
        "http_api is on, and no file imports create_api.",
        "Call install(app), as docs/data-layer/adopt.md shows it."
        if ADOPTED
        else f"Write src/{source.LAYER.parent.name}/app.py as docs/data-layer/http.md shows it.",
    )
