"""What `check` asks about backups: DL-BK."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..checklist import Check, Finding, advice, failed, passed, survey
from ..settings import load
from .adapters import tool_of
from .continuity import gap, in_words
from .reports import read
from .server import Archiving, Server, archiving, connected, describe
from .settings import BackupSettings
from .tool import Backup, Kind, Tool

# An hour or two more than the schedule's interval, since a backup takes time.
FULL_AGE = timedelta(hours=26)
INCREMENTAL_AGE = timedelta(hours=2)
ARCHIVE_AGE = timedelta(minutes=5)
DRILL_AGE = timedelta(days=35)

HERE = ("", "localhost", "127.0.0.1", "::1")
SET_UP = "Follow docs/data-layer/recovery.md: BACKUP_TOOL=pgbackrest, or managed by the provider."


@dataclass(frozen=True, slots=True)
class _Facts:
    settings: BackupSettings
    server: Server
    archiving: Archiving
    tool: Tool | None
    backups: list[Backup]
    now: datetime


Judge = Callable[[_Facts], Finding]


def backup_checks() -> list[Check]:
    """The checks of the backups, in the order of the report."""
    asked = survey(lambda: asyncio.to_thread(_look))
    return [
        Check("DL-BK-01", "Backups are set up", asked(_set_up)),
        Check("DL-BK-02", "The last full backup is of today", asked(_full)),
        Check("DL-BK-03", "The last backup is of this hour", asked(_incremental)),
        Check("DL-BK-04", "The WAL is archived without delay", asked(_archived)),
        Check("DL-BK-05", "The archive has no gap", asked(_continuous)),
        Check("DL-BK-06", "The retention is reached", asked(_retention)),
        Check("DL-BK-07", "Backups are encrypted and kept as set", asked(_kept)),
        Check("DL-BK-08", "A restore was proved this month", asked(_drilled)),
    ]


def _look() -> _Facts | Finding:
    settings = load(BackupSettings)
    if settings.tool is None:
        return failed("No backup is set up.", f"{SET_UP} BACKUP_TOOL=none if it may be lost.")
    url = settings.connection()
    host = str(url.query.get("host") or url.host or "")
    if settings.tool == "none":
        if host in HERE or host.startswith("/"):
            return advice("BACKUP_TOOL=none: this database may be lost with its machine.", SET_UP)
        return failed(f"BACKUP_TOOL=none, and the server {host} is not this machine.", SET_UP)
    with connected(url) as connection:
        server, state = describe(connection), archiving(connection)
    tool = None if settings.tool == "managed" else tool_of(settings)
    backups = [] if tool is None else tool.backups()
    return _Facts(settings, server, state, tool, backups, datetime.now(UTC))


def _of_provider(judge: Callable[[_Facts, Tool], Finding]) -> Judge:
    """Judge the backups of our own tool; pass where the provider makes them: nobody can ask it."""

    def judge_ours(facts: _Facts) -> Finding:
        if facts.tool is None:
            return passed("The provider's to keep: BACKUP_TOOL=managed.")
        if not facts.backups:
            return failed("There is no backup yet.", "Type `backup run full`.")
        return judge(facts, facts.tool)

    return judge_ours


def _set_up(facts: _Facts) -> Finding:
    if facts.tool is None:
        return passed("The provider of the server makes them: BACKUP_TOOL=managed.")
    if facts.tool.exercise:
        return failed(f"{facts.tool.name} are an exercise, and no backup.", SET_UP)
    return passed(f"{facts.tool.name} makes them; {len(facts.backups)} are kept.")


def _age(facts: _Facts, backup: Backup, limit: timedelta, command: str) -> Finding:
    age = facts.now - backup.stopped
    said = f"{backup.label} is {age.total_seconds() / 3600:.1f} hours old"
    found = passed(f"{said}.")
    if age > limit:
        hours = limit.total_seconds() / 3600
        found = failed(
            f"{said}, more than {hours:.0f}.",
            f"Look why the schedule stands still, and type `{command}`.",
        )
    return found.measured({"age": age.total_seconds()})


@_of_provider
def _full(facts: _Facts, _: Tool) -> Finding:
    full = [backup for backup in facts.backups if backup.kind is Kind.FULL]
    return _age(facts, full[-1], FULL_AGE, "backup run full")


@_of_provider
def _incremental(facts: _Facts, _: Tool) -> Finding:
    return _age(facts, facts.backups[-1], INCREMENTAL_AGE, "backup run incremental")


def _archived(facts: _Facts) -> Finding:
    state = facts.archiving
    if state.wal_level == "minimal":
        return failed("wal_level is minimal.", "Set it to replica, and restart the server.")
    if facts.tool is None and state.archived is None:
        return passed(f"wal_level is {state.wal_level}; the archive is the provider's.")
    if state.mode == "off":
        return failed("The server archives no WAL.", "Type `backup prepare`.")
    if state.broken:
        return failed(f"{state.failed_wal} was refused last.", "Read the log of the server.")
    since = state.archived or state.counting_since
    if state.now - since > ARCHIVE_AGE:
        return failed(
            f"Nothing was archived since {since}.",
            "Let the schedule run its heartbeat, and set archive_timeout to 60s.",
        )
    if state.archived is None:
        return passed(f"Nothing was archived since {since}, when the server last lost its count.")
    return passed(f"{state.last} was archived at {state.archived:%H:%M:%S %Z}.")


@_of_provider
def _continuous(facts: _Facts, tool: Tool) -> Finding:
    if names := gap(facts.backups, tool.archive(), facts.server, facts.archiving):
        return failed(
            f"It lacks {in_words(names)}.",
            "Type `backup run full`: no moment from before the gap to then can be restored.",
        )
    end = facts.archiving.last or "what comes next"
    return passed(f"It reaches from {facts.backups[0].start} to {end}.")


@_of_provider
def _retention(facts: _Facts, _: Tool) -> Finding:
    days, oldest = facts.settings.retention_days, facts.backups[0].stopped
    if facts.now - oldest < timedelta(days=days):
        return advice(
            f"Restorable back to {oldest:%Y-%m-%d %H:%M %Z}, not yet for {days} days.",
            f"Keep the schedule until {oldest + timedelta(days=days):%Y-%m-%d}.",
        )
    return passed(f"Restorable back to {oldest:%Y-%m-%d %H:%M %Z}, {days} days or more.")


@_of_provider
def _kept(facts: _Facts, tool: Tool) -> Finding:
    wanted = facts.settings.encryption_secret is not None
    if wanted != tool.encrypted():
        return failed(
            f"BACKUP_ENCRYPTION_SECRET is {'set' if wanted else 'not set'}, and the repository is "
            f"{'not ' if wanted else ''}encrypted.",
            "A repository can't change; make a new one under another BACKUP_REPOSITORY.",
        )
    if not facts.settings.s3_bucket:
        return advice(
            f"The repository is the folder {facts.settings.folder()}.",
            "Keep it on another machine than the server's, or set BACKUP_S3_BUCKET.",
        )
    said = f"The repository is in the bucket {facts.settings.s3_bucket}"
    if not wanted:
        return advice(f"{said}, not encrypted.", "Set BACKUP_ENCRYPTION_SECRET in a new one.")
    return passed(f"{said}, encrypted.")


def _drilled(facts: _Facts) -> Finding:
    remedy = "Type `backup drill`."
    if facts.tool is None:
        day = facts.settings.restored_on
        last = None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
        said = f"BACKUP_RESTORED_ON is {day or 'not set'}"
        remedy = "Restore the provider's backup, look at the data, and set it to that day."
    else:
        report = read(facts.settings.report())
        if report is not None and not report["ok"]:
            wrong = [step for step in report["steps"] if not step["ok"]]
            return failed(
                f"The drill of {report['started']} failed: "
                f"{' '.join(step['said'] for step in wrong) or 'it did not come to its end.'}",
                remedy,
            )
        last = None if report is None else datetime.fromisoformat(report["started"])
        said = f"The last drill is {'of ' + report['started'] if report else 'none'}"
    if last is None or facts.now - last > DRILL_AGE:
        return failed(f"{said}; {DRILL_AGE.days} days are the most.", remedy)
    return passed(f"{said}.")
