"""What `check` asks about sagas and the outbox: DL-SA-01 to DL-SA-04."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from ..checklist import Check, Finding, failed, passed
from ..database import Database
from ..project import COMMAND
from .models import OutboxRow, SagaRow
from .operating import Backlog, State, backlog, has_table, states
from .outbox import TOPICS

# Longer than that, somebody waits for what nobody does.
OVERDUE = 60.0
DECLARE = "and name its module in __main__.py, as create_cli(declares=[…])."


def saga_checks(declare: Callable[[], None]) -> list[Check]:
    """The checks, which ask the server once; `declare` imports what declares sagas and topics."""
    asked: list[asyncio.Task[tuple[list[State], list[Backlog]]]] = []

    async def ask() -> tuple[list[State], list[Backlog]]:
        async with Database.open() as database, database.read_only() as session:
            sagas = await states(session) if await has_table(session, SagaRow) else []
            waiting = await backlog(session) if await has_table(session, OutboxRow) else []
        if sagas or waiting:
            declare()  # imports much, and nothing is judged by it otherwise
        return sagas, waiting

    def check(
        identifier: str,
        title: str,
        judge: Callable[[list[State], list[Backlog]], Finding],
        *,
        required: bool = True,
    ) -> Check:
        async def probe() -> Finding:
            if not asked:
                asked.append(asyncio.create_task(ask()))
            # A check that runs out of time must not take the answer from the others.
            return judge(*await asyncio.shield(asked[0]))

        return Check(identifier, title, probe, required)

    return [
        check("DL-SA-01", "No saga waits for a person", _parked, required=False),
        check("DL-SA-02", "Sagas go on", _overdue),
        check("DL-SA-03", "The code knows every saga that runs", _unknown),
        check("DL-SA-04", "Committed messages are delivered", _outbox),
    ]


def _parked(sagas: list[State], _: list[Backlog]) -> Finding:
    found = [one for one in sagas if one.status == "parked"]
    parked = {"parked": sum(one.number for one in found)}
    if found:
        return failed(
            f"Parked: {_listed(found)}.",
            f"Look with `uv run {COMMAND} sagas ls --status parked`, mend the cause, then type "
            "`… sagas retry ID`, or do by hand what is missing and type `… sagas resolve ID`.",
        ).measured(parked)
    counted = f"None of {sum(one.number for one in sagas):,} sagas is parked."
    return passed(counted).measured(parked)


def _overdue(sagas: list[State], _: list[Backlog]) -> Finding:
    active = [one for one in sagas if one.status == "active" and one.is_known]
    evidence = f"{sum(one.number for one in active):,} sagas are active."
    late = max((one.late for one in active), default=0.0)
    if late > OVERDUE:
        return failed(
            f"{evidence} One has been due for {timedelta(seconds=round(late))}.",
            f"Start more workers: uv run {COMMAND} sagas worker",
        )
    return passed(evidence)


def _unknown(sagas: list[State], _: list[Backlog]) -> Finding:
    open_ = [one for one in sagas if one.status in ("active", "parked")]
    if found := [one for one in open_ if not one.is_known]:
        return failed(
            f"Not in this code, so no worker takes them: {_listed(found)}.",
            f"Declare each version until `sagas ls` shows none of it, {DECLARE}",
        )
    return passed("The code declares every saga that is active or parked.")


def _outbox(_: list[State], waiting: list[Backlog]) -> Finding:
    parked = sum(one.parked for one in waiting)
    evidence = f"{sum(one.waiting for one in waiting):,} messages wait, {parked:,} are parked."
    if unknown := [one.topic for one in waiting if one.topic not in TOPICS]:
        return failed(
            f"{evidence} No topic of this code is called {', '.join(unknown)}.",
            f"Declare it until its messages are delivered, {DECLARE}",
        )
    if parked:
        return failed(
            f"{evidence} Their keys wait behind them.",
            f"Look with `uv run {COMMAND} outbox ls`, mend the cause, type `… outbox retry`.",
        )
    if any(one.oldest > OVERDUE for one in waiting):
        return failed(
            f"{evidence} The oldest is older than a minute.",
            f"Start a relay: uv run {COMMAND} outbox relay",
        )
    return passed(evidence)


def _listed(states: list[State]) -> str:
    return ", ".join(f"{one.number:,} of {one.name} (version {one.version})" for one in states)
