"""What `check` asks about backups: DL-BK.

One survey serves them all: where no backup is set up, or the server is down, they say so at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..checklist import Check, Finding, advice, failed, passed
from ..settings import load
from .adapters import tool_of
from .continuity import gap, in_words
from .reports import read
from .server import Archiving, Server, archiving, connected, describe
from .settings import BackupSettings
from .tool import Backup, Kind, Tool

# An hour or two beyond the schedule: a run takes its time.
FULL_AGE = timedelta(hours=26)
INCREMENTAL_AGE = timedelta(hours=2)
ARCHIVE_AGE = timedelta(minutes=5)
DRILL_AGE = timedelta(days=35)

HERE = ("", "localhost", "127.0.0.1", "::1")
SET_UP = "Follow docs/data-layer/recovery.md: BACKUP_TOOL=pgbackrest, or managed by the provider."


@dataclass(frozen=True, slots=True)
class _Seen:
    settings: BackupSettings
    server: Server
    archiving: Archiving
    tool: Tool | None
    backups: list[Backup]
    now: datetime


Judge = Callable[[_Seen], Finding]


def backup_checks() -> list[Check]:
    """The checks of the backups, in the order of the report."""
    survey = _Survey()
    return [
        Check("DL-BK-01", "Backups are set up", survey.asking(_set_up)),
        Check("DL-BK-02", "The last full backup is of today", survey.asking(_full)),
        Check("DL-BK-03", "The last backup is of this hour", survey.asking(_incremental)),
        Check("DL-BK-04", "The WAL is archived without delay", survey.asking(_archived)),
        Check("DL-BK-05", "The archive has no gap", survey.asking(_continuous)),
        Check("DL-BK-06", "The retention is reached", survey.asking(_retention)),
        Check("DL-BK-07", "Backups are encrypted and kept as set", survey.asking(_kept)),
        Check("DL-BK-08", "A restore was proved this month", survey.asking(_drilled)),
    ]


class _Survey:
    def __init__(self) -> None:
        self._asked: asyncio.Task[_Seen | Finding] | None = None

    def asking(self, judge: Judge) -> Callable[[], Awaitable[Finding]]:
        async def probe() -> Finding:
            if self._asked is None:
                self._asked = asyncio.create_task(asyncio.to_thread(_look))
            seen = await asyncio.shield(self._asked)
            return seen if isinstance(seen, Finding) else await asyncio.to_thread(judge, seen)

        return probe


def _look() -> _Seen | Finding:
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
    return _Seen(settings, server, state, tool, backups, datetime.now(UTC))


def _of_provider(judge: Callable[[_Seen, Tool], Finding]) -> Judge:
    """What can't be asked of a provider is the provider's to keep."""

    def judge_ours(seen: _Seen) -> Finding:
        if seen.tool is None:
            return passed("The provider's to keep: BACKUP_TOOL=managed.")
        if not seen.backups:
            return failed("There is no backup yet.", "Type `backup run full`.")
        return judge(seen, seen.tool)

    return judge_ours


def _set_up(seen: _Seen) -> Finding:
    if seen.tool is None:
        return passed("The provider of the server makes them: BACKUP_TOOL=managed.")
    if seen.tool.exercise:
        return failed(f"{seen.tool.name} are an exercise, and no backup.", SET_UP)
    return passed(f"{seen.tool.name} makes them; {len(seen.backups)} are kept.")


def _age(seen: _Seen, backup: Backup, limit: timedelta, command: str) -> Finding:
    age = seen.now - backup.stopped
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
def _full(seen: _Seen, _: Tool) -> Finding:
    full = [backup for backup in seen.backups if backup.kind is Kind.FULL]
    return _age(seen, full[-1], FULL_AGE, "backup run full")


@_of_provider
def _incremental(seen: _Seen, _: Tool) -> Finding:
    return _age(seen, seen.backups[-1], INCREMENTAL_AGE, "backup run incremental")


def _archived(seen: _Seen) -> Finding:
    state = seen.archiving
    if state.wal_level == "minimal":
        return failed("wal_level is minimal.", "Set it to replica, and restart the server.")
    if seen.tool is None and state.archived is None:
        return passed(f"wal_level is {state.wal_level}; the archive is the provider's.")
    if state.mode == "off":
        return failed("The server archives no WAL.", "Type `backup prepare`.")
    if state.broken:
        return failed(f"{state.failed_wal} was refused last.", "Read the log of the server.")
    if state.archived is None or state.now - state.archived > ARCHIVE_AGE:
        return failed(
            f"Nothing was archived since {state.archived or 'the start'}.",
            "Let the schedule run its heartbeat, and set archive_timeout to 60s.",
        )
    return passed(f"{state.last} was archived at {state.archived:%H:%M:%S %Z}.")


@_of_provider
def _continuous(seen: _Seen, tool: Tool) -> Finding:
    if names := gap(seen.backups, tool.archive(), seen.server, seen.archiving):
        return failed(
            f"It lacks {in_words(names)}.",
            "Type `backup run full`: no moment from before the gap to then can be restored.",
        )
    return passed(f"It reaches from {seen.backups[0].start} to {seen.archiving.last}.")


@_of_provider
def _retention(seen: _Seen, _: Tool) -> Finding:
    days, oldest = seen.settings.retention_days, seen.backups[0].stopped
    if seen.now - oldest < timedelta(days=days):
        return advice(
            f"Restorable back to {oldest:%Y-%m-%d %H:%M %Z}, not yet for {days} days.",
            f"Keep the schedule until {oldest + timedelta(days=days):%Y-%m-%d}.",
        )
    return passed(f"Restorable back to {oldest:%Y-%m-%d %H:%M %Z}, {days} days or more.")


@_of_provider
def _kept(seen: _Seen, tool: Tool) -> Finding:
    wanted = seen.settings.encryption_secret is not None
    if wanted != tool.encrypted():
        return failed(
            f"BACKUP_ENCRYPTION_SECRET is {'set' if wanted else 'not set'}, and the repository is "
            f"{'not ' if wanted else ''}encrypted.",
            "A repository can't change; make a new one under another BACKUP_REPOSITORY.",
        )
    if not seen.settings.s3_bucket:
        return advice(
            f"The repository is the folder {seen.settings.folder()}.",
            "Keep it on another machine than the server's, or set BACKUP_S3_BUCKET.",
        )
    said = f"The repository is in the bucket {seen.settings.s3_bucket}"
    if not wanted:
        return advice(f"{said}, not encrypted.", "Set BACKUP_ENCRYPTION_SECRET in a new one.")
    return passed(f"{said}, encrypted.")


def _drilled(seen: _Seen) -> Finding:
    remedy = "Type `backup drill`."
    if seen.tool is None:
        day = seen.settings.restored_on
        last = None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
        said = f"BACKUP_RESTORED_ON is {day or 'not set'}"
        remedy = "Restore the provider's backup, look at the data, and set it to that day."
    else:
        report = read(seen.settings.report())
        if report is not None and not report["ok"]:
            wrong = [step for step in report["steps"] if not step["ok"]]
            return failed(
                f"The drill of {report['started']} failed: "
                f"{' '.join(step['said'] for step in wrong) or 'it did not come to its end.'}",
                remedy,
            )
        last = None if report is None else datetime.fromisoformat(report["started"])
        said = f"The last drill is {'of ' + report['started'] if report else 'none'}"
    if last is None or seen.now - last > DRILL_AGE:
        return failed(f"{said}; {DRILL_AGE.days} days are the most.", remedy)
    return passed(f"{said}.")
