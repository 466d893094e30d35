"""What `check` asks about sagas and the outbox: DL-SA-01 to DL-SA-04."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from ..checklist import Check, Finding, failed, passed, survey
from ..database import Database
from ..project import COMMAND
from .operating import Backlog, State, backlog, states
from .outbox import TOPICS

# Seconds after which a saga or a message that is due counts as late.
OVERDUE = 60.0
DECLARE = "and name its module in __main__.py, as create_cli(declares=[…])."


@dataclass(frozen=True, slots=True)
class _Facts:
    sagas: list[State]
    waiting: list[Backlog]


def saga_checks(declare: Callable[[], None]) -> list[Check]:
    """The checks, in the order of the report; `declare` imports what declares sagas and topics."""

    async def ask() -> _Facts:
        async with Database.open() as database, database.read_only() as session:
            facts = _Facts(await states(session), await backlog(session))
        if facts.sagas or facts.waiting:
            declare()  # imports much, so only if there is something to judge
        return facts

    asked = survey(ask)
    return [
        Check("DL-SA-01", "No saga waits for a person", asked(_parked), required=False),
        Check("DL-SA-02", "Sagas go on", asked(_overdue)),
        Check("DL-SA-03", "The code knows every saga that runs", asked(_unknown)),
        Check("DL-SA-04", "Committed messages are delivered", asked(_outbox)),
    ]


def _parked(facts: _Facts) -> Finding:
    found = [one for one in facts.sagas if one.status == "parked"]
    parked = {"parked": sum(one.number for one in found)}
    if found:
        return failed(
            f"Parked: {_listed(found)}.",
            f"Look with `uv run {COMMAND} sagas ls --status parked`, mend the cause, then type "
            "`… sagas retry ID`, or do by hand what is missing and type `… sagas resolve ID`.",
        ).measured(parked)
    counted = f"None of {sum(one.number for one in facts.sagas):,} sagas is parked."
    return passed(counted).measured(parked)


def _overdue(facts: _Facts) -> Finding:
    active = [one for one in facts.sagas if one.status == "active" and one.is_known]
    evidence = f"{sum(one.number for one in active):,} sagas are active."
    late = max((one.late for one in active), default=0.0)
    if late > OVERDUE:
        return failed(
            f"{evidence} One has been due for {timedelta(seconds=round(late))}.",
            f"Start more workers: uv run {COMMAND} sagas worker",
        )
    return passed(evidence)


def _unknown(facts: _Facts) -> Finding:
    open_ = [one for one in facts.sagas if one.status in ("active", "parked")]
    if found := [one for one in open_ if not one.is_known]:
        return failed(
            f"Not in this code, so no worker takes them: {_listed(found)}.",
            f"Declare each version until `sagas ls` shows none of it, {DECLARE}",
        )
    return passed("The code declares every saga that is active or parked.")


def _outbox(facts: _Facts) -> Finding:
    parked = sum(one.parked for one in facts.waiting)
    evidence = (
        f"{sum(one.waiting for one in facts.waiting):,} messages wait, {parked:,} are parked."
    )
    if unknown := [one.topic for one in facts.waiting if one.topic not in TOPICS]:
        return failed(
            f"{evidence} No topic of this code is called {', '.join(unknown)}.",
            f"Declare it until its messages are delivered, {DECLARE}",
        )
    if parked:
        return failed(
            f"{evidence} Their keys wait behind them.",
            f"Look with `uv run {COMMAND} outbox ls`, mend the cause, type `… outbox retry`.",
        )
    if any(one.oldest > OVERDUE for one in facts.waiting):
        return failed(
            f"{evidence} The oldest is older than a minute.",
            f"Start a relay: uv run {COMMAND} outbox relay",
        )
    return passed(evidence)


def _listed(states: list[State]) -> str:
    return ", ".join(f"{one.number:,} of {one.name} (version {one.version})" for one in states)
