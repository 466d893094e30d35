"""The restore drill: it proves on a private copy that what is backed up comes back, row by row.

It knows no particular tool, only the protocol of all tools: `Tool`. Serves DL-BK-08.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from .. import checklist
from ..checklist import Check, Verdict
from ..database import DatabaseSettings
from ..settings import load
from . import manifest as manifests
from . import reports, wal
from .continuity import in_words
from .errors import RecoveryError
from .manifest import Manifest
from .programs import account, hand_over, program, run
from .progress import progress
from .reports import Report, Step
from .scratch import ScratchServer, scratch_server
from .server import Server, archiving, connected, describe
from .settings import BackupSettings
from .tool import Target, Tool, choose

ARCHIVE_TIMEOUT = 300.0

Checks = Callable[[], Sequence[Check]]
Say = Callable[[str], None]


def drill(
    settings: BackupSettings,
    tool: Tool,
    checks: Checks = tuple,
    *,
    scratch: Path | None = None,
    say: Say = lambda _: None,
) -> Report:
    """Restore the newest backup to a point of now, on a private copy, and judge the copy.

    In production the drill makes a restore point and switches the segment of WAL; the rest it only
    reads, under locks of milliseconds. The report is written however the drill ends.

    Args:
        checks: the project's own checks of the copy, beside those that every copy gets.
        scratch: the folder below which the copy is made; without it the system's temporary one.
        say: is told each step when it is done.
    """
    report = Report(tool.name, tool.exercise, datetime.now(UTC))
    folder = Path(tempfile.mkdtemp(prefix="drill-", dir=scratch))
    folder.chmod(0o711)  # the server on it may run as another user
    try:
        _Drill(settings, tool, report, folder, say).go(checks)
    except RecoveryError:
        pass  # the step that failed has recorded the error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        reports.write(report, settings.report())
    return report


class _Drill:
    def __init__(
        self, settings: BackupSettings, tool: Tool, report: Report, folder: Path, say: Say
    ) -> None:
        self._settings = settings
        self._tool = tool
        self._report = report
        self._folder = folder
        self._say = say
        self._url = settings.connection()

    def go(self, checks: Checks) -> None:
        with self._step("Manifest under load") as said:
            point = f"drill_{datetime.now(UTC):%Y%m%d_%H%M%S_%f}"
            taken = manifests.take(self._url, point)
            self._report.manifest = taken
            said(f"{len(taken.tables)} tables; writers were held for {taken.held * 1000:.1f} ms.")
        with self._step("The point is archived") as said:
            timelines = {wal.timeline_of(name) for name in self._tool.archive().segments}
            said(f"{self._archived(taken)} is in the archive.")
        with self._step("WAL without a gap") as said:
            said(self._continuous(taken))
        target = Target("name", point)
        begun = time.monotonic()
        with ExitStack() as running:
            copy = self._copy(running, target, taken.server)
            self._judge(copy, taken, checks)
        with self._step("Page checksums", go_on=True) as said:
            said(self._checksums(copy.folder, taken.server))
        self._report.recovery_seconds = time.monotonic() - begun
        shutil.rmtree(copy.folder)
        self._measure_loss(taken.server)
        with self._step("Production is untouched") as said:
            said(self._untouched(taken.server, timelines))

    @contextmanager
    def _step(self, name: str, *, go_on: bool = False) -> Iterator[Callable[[str], None]]:
        """Record how the block ended; a failure ends the drill, unless `go_on` is set."""
        begun = time.monotonic()
        heard: list[str] = []

        def note(ok: bool, text: str) -> None:
            self._report.steps.append(Step(name, ok, text, round(time.monotonic() - begun, 3)))
            self._say(f"{'ok' if ok else 'FAILED':<8}{name}: {text}")

        try:
            yield heard.append
        except RecoveryError as error:
            note(False, str(error))
            if not go_on:
                raise
        except BaseException as error:
            note(False, f"The drill itself broke: {type(error).__name__}.")
            raise
        else:
            note(True, " ".join(heard))

    def _archived(self, taken: Manifest) -> str:
        wanted = _segment_of(taken)
        deadline = time.monotonic() + ARCHIVE_TIMEOUT
        with connected(self._url) as connection, progress("Waiting for the archive"):
            connection.execute("SELECT pg_switch_wal()")
            while wanted not in self._tool.archive().segments:
                now = archiving(connection)
                if now.mode == "off":
                    raise RecoveryError("The server archives no WAL; type `backup prepare`.")
                if time.monotonic() > deadline:
                    refused = now.failed_wal or "none"
                    raise RecoveryError(
                        f"{wanted} did not come within {ARCHIVE_TIMEOUT:.0f} s; the last that the "
                        f"archive refused is {refused}: read the server's log."
                    )
                time.sleep(0.2)
        return wanted

    def _continuous(self, taken: Manifest) -> str:
        backups = self._tool.backups()
        if not backups:
            raise RecoveryError("There is no backup; type `backup run full`.")
        start, end = backups[0].start, _segment_of(taken)
        if gap := wal.missing(self._tool.archive(), start, end, taken.server.segment_size):
            raise RecoveryError(f"The archive lacks {in_words(gap)}.")
        return f"It reaches from {start} to {end}."

    def _copy(self, running: ExitStack, target: Target, of: Server) -> ScratchServer:
        """Make a copy that has recovered to that target; its server stops with `running`."""
        folder = self._folder / target.kind
        folder.mkdir(mode=0o700)
        hand_over(folder, account(self._settings))
        with self._step(f"Restore ({target.kind})") as said:
            backup = choose(self._tool.backups(), target)
            self._report.backup = backup.label
            # A copy of somebody else may have left a newer timeline in the archive.
            self._tool.restore(folder, target, backup, timeline=of.timeline)
            said(f"From {backup.label}.")
        with self._step(f"Recovery ({target.kind})") as said:
            environment = self._tool.environment()
            copy = running.enter_context(scratch_server(self._settings, folder, of, environment))
            with connected(copy.url(self._url.database)) as connection:
                shut = connection.execute(
                    "SELECT current_setting('listen_addresses'), current_setting('archive_mode')"
                ).fetchone()
            if shut != ("", "off"):
                raise RecoveryError("The copy is not shut off.")
            said(f"The last transaction is of {copy.last_transaction() or 'the backup'}.")
        return copy

    def _judge(self, copy: ScratchServer, taken: Manifest, checks: Checks) -> None:
        database = self._url.database
        with connected(copy.url(database)) as connection:
            with self._step("Rows of every table", go_on=True) as said:
                if wrong := manifests.differences(taken.tables, manifests.sums_at(connection)):
                    raise RecoveryError(" ".join(wrong))
                rows = sum(table.rows for table in taken.tables.values())
                said(f"{rows} rows in {len(taken.tables)} tables are what they were.")
            with self._step("Migration", go_on=True) as said:
                found = manifests.revision_of(connection)
                if found != taken.revision:
                    raise RecoveryError(f"The copy is at {found}, not at {taken.revision}.")
                said(f"It is at {found or 'the beginning'}, as production.")
        with self._step("The project's checks", go_on=True) as said:
            said(_asked(copy, database, checks))
        with self._step("Indexes and heap (pg_amcheck)", go_on=True) as said:
            url = copy.url(database)
            run(
                [
                    program(self._settings, "pg_amcheck"),
                    *(f"--host={url.query['host']}", f"--username={url.username}"),
                    *("--install-missing", "--heapallindexed", "--parent-check", str(database)),
                ],
                "pg_amcheck",
            )
            said("Every index fits its table.")

    def _checksums(self, folder: Path, of: Server) -> str:
        if not of.checksums:
            raise RecoveryError("The pages have none; switch them on with pg_checksums --enable.")
        run(
            [program(self._settings, "pg_checksums"), "--check", "-D", folder],
            "Checking the pages",
            user=account(self._settings),
        )
        return "Every page has its own."

    def _measure_loss(self, of: Server) -> None:
        """Measure what a lost server loses, by a second restore to the latest possible moment."""
        began = datetime.now(UTC)
        with ExitStack() as running:
            copy = self._copy(running, Target("latest"), of)
            last = copy.last_transaction()
        backup = self._tool.backups()[-1]
        self._report.loss_seconds = (began - (last or backup.stopped)).total_seconds()

    def _untouched(self, before: Server, timelines: set[int]) -> str:
        with connected(self._url) as connection:
            after = describe(connection)
        for name in ("system_identifier", "timeline", "data_directory"):
            if getattr(after, name) != getattr(before, name):
                raise RecoveryError(f"Its {name} has changed during the drill.")
        now = {wal.timeline_of(name) for name in self._tool.archive().segments}
        if new := now - timelines - {before.timeline}:
            raise RecoveryError(f"The archive got timeline {min(new)}, which is the copy's.")
        return f"It is on timeline {after.timeline} still, and so is its archive."


def _segment_of(taken: Manifest) -> str:
    # `lsn` is where the record ends; a record that ends a segment does not need the next segment.
    size = taken.server.segment_size
    return wal.segment(taken.server.timeline, (wal.lsn(taken.lsn) - 1) // size, size)


def _asked(copy: ScratchServer, database: str | None, checks: Checks) -> str:
    role = load(DatabaseSettings).sqlalchemy_url().username
    url = copy.url(database, role).set(drivername="postgresql").render_as_string()
    with _variables(DATABASE_URL=url, MIGRATION_URL=url, DATABASE_TRANSACTION_POOLER="false"):
        report = asyncio.run(checklist.run(checks()))
    if not report.ok:
        failed = [one for one in report.results if one.finding.verdict is Verdict.FAILED]
        raise RecoveryError(" ".join(f"{one.check.id}: {one.finding.evidence}" for one in failed))
    return checklist.summary(report)


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
