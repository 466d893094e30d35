"""Data that live: whatever changes, in whatever order, no history is lost and none is falsified."""

import asyncio
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import URL, Column, DateTime, Double, MetaData, Table, delete

from my_project.data_layer.database import Database, copy_in, upsert
from my_project.data_layer.database.migrations import MigrationError
from my_project.data_layer.timescaledb import (
    KEEP,
    TimescaleDBError,
    backfill,
    refresh,
)
from tests.data_layer.fixtures import settings_of
from tests.layer.timescaledb.conftest import Project, create_database, drop_database

MODELS = """
    readings = Table(
        "readings",
        metadata,
        Column("at", DateTime(timezone=True), primary_key=True),
        Column("value", Double, nullable=False),
        Hypertable("at", retention={retention!r}, columnstore_after={columnstore!r}),
    )
    hour = time_bucket("1 hour", readings.c.at)
    hourly = ContinuousAggregate(
        "hourly",
        select(
            hour.label("bucket"),
            {total}.label("total"),
            func.count().label("n"),
        ).group_by(hour),
        retention={kept_hours!r},
        columnstore_after={columnstore!r},
    )
    day = time_bucket("1 day", hourly.c.bucket)
    daily = ContinuousAggregate(
        "daily",
        select(
            day.label("bucket"),
            func.sum(hourly.c.total).label("total"),
            func.sum(hourly.c.n).label("n"),
        ).group_by(day),
    )
"""
FIRST = {
    "retention": KEEP,
    "columnstore": "3 days",
    "kept_hours": KEEP,
    "total": "func.sum(readings.c.value)",
}
KEY = ["at"]
DAY = timedelta(days=1)
LEVELS = ("hourly", "daily")
KINDS = ("drop_after", "mat_hypertable_id", "compress_after")

# Two rows in each of two hours of a day, so that a bucket can be lost in part.
TIMES = [timedelta(hours=hour, minutes=minute) for hour in (6, 18) for minute in (10, 40)]

Rows = dict[datetime, float]
Buckets = dict[datetime, tuple[float, int]]


def bucket_of(level: str, time: datetime) -> datetime:
    hour = time.replace(minute=0, second=0, microsecond=0)
    return hour if level == "hourly" else hour.replace(hour=0)


class Living(RuleBasedStateMachine):
    """A project that lives, beside what must be true of it.

    A bucket is *gone* when a retention has dropped a row of it: what it holds then is history, and
    stays as it is. Every other bucket is as it was, or as its source has it now.
    """

    server: URL

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.project = Project(Path(self.folder.name), Path.cwd(), create_database(self.server))
        self.declared: dict[str, Any] = dict(FIRST)
        self.revisions = 0
        # The revisions that are applied, each with what was declared before it.
        self.revised: list[tuple[str, dict[str, Any]]] = []
        self.passed = timedelta()
        self.readings: Rows = {}
        self.stored: dict[str, Buckets] = {level: {} for level in LEVELS}
        self.gone: dict[str, set[datetime]] = {level: set() for level in LEVELS}
        # Until when a retention may have dropped rows.
        self.dropped_until: dict[str, datetime] = {}

    @initialize(retention=st.sampled_from(["10 days", "20 days"]))
    def begin(self, retention: str) -> None:
        """History that is longer than what its source keeps."""
        self.database = self.run(self._open())
        self.declare({})
        self.write(list(range(45)), "copy_in")
        for level in LEVELS:
            self.refresh(level)
        self.declare({"retention": retention})
        self.jobs_run(["drop_after"])
        assert len(self.gone["hourly"]) > len(self.readings) / 2

    async def _open(self) -> Database:
        self.opened = Database.open(settings_of(self.project.url))
        return await self.opened.__aenter__()

    def teardown(self) -> None:
        try:
            if self.readings:
                self.jobs_run(list(KINDS))
            if hasattr(self, "opened"):
                self.run(self.opened.__aexit__(None, None, None))
            self.project.query("SET engine.seconds_ahead = 0")
            drop_database(self.project.url, self.server)
        finally:
            self.runner.close()
            self.folder.cleanup()

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def clock(self) -> datetime:
        [(now,)] = self.project.query("SELECT now()")
        moment: datetime = now.astimezone(UTC)
        return moment

    # -----------------------------------------------------------------------------------
    # Rows
    # -----------------------------------------------------------------------------------
    def rows(self, ages: Iterable[int], value: float) -> list[tuple[datetime, float]]:
        midnight = self.clock().replace(hour=0, minute=0, second=0, microsecond=0)
        return [(midnight - age * DAY + time, value) for age in ages for time in TIMES]

    def write(self, ages: list[int], way: str, value: float = 1.0) -> None:
        rows = self.rows(ages, value)
        tables = MetaData()
        table = Table(
            "readings",
            tables,
            Column("at", DateTime(timezone=True), primary_key=True),
            Column("value", Double),
        )

        async def written() -> None:
            async with self.database.transaction() as session:
                if way == "copy_in":
                    new = [row for row in rows if row[0] not in self.readings]
                    await copy_in(session, table, new)
                else:
                    await upsert(session, table, rows, key=KEY)

        self.run(written())
        self.compare()

    @rule(
        age=st.integers(0, 60),
        days=st.integers(1, 10),
        way=st.sampled_from(["copy_in", "upsert"]),
        value=st.integers(2, 9),
    )
    def rows_come(self, age: int, days: int, way: str, value: int) -> None:
        self.write(list(range(age, age + days)), way, value)

    @rule(age=st.integers(0, 60), days=st.integers(1, 10), value=st.integers(2, 9))
    def rows_come_late(self, age: int, days: int, value: int) -> None:
        rows = self.rows(range(age, age + days), value)
        before = dict(self.readings)
        refusal = ""
        try:
            self.run(backfill(self.database, self.table(), rows, key=KEY))
        except TimescaleDBError as error:
            refusal = str(error)
        self.compare()
        if refusal:
            note(refusal)
            assert "would erase" in refusal
            assert self.readings == before
            begin = bucket_of("daily", rows[-1][0])
            assert any(begin < bound for bound in self.bounds()), "A whole bucket was refused."
            return
        for level in LEVELS:
            for time, _ in rows:
                bucket = bucket_of(level, time)
                assert bucket not in self.gone[level] or bucket not in self.stored[level]
                assert self.stored[level][bucket] == self.summed(level)[bucket]

    @rule(age=st.integers(0, 40), days=st.integers(1, 5))
    def rows_are_deleted(self, age: int, days: int) -> None:
        table = self.table()
        times = [time for time, _ in self.rows(range(age, age + days), 0)]

        async def deleted() -> None:
            async with self.database.transaction() as session:
                await session.execute(
                    delete(table).where(table.c["at"].between(min(times), max(times)))
                )

        self.run(deleted())
        self.compare(deleted=True)

    # -----------------------------------------------------------------------------------
    # Declarations
    # -----------------------------------------------------------------------------------
    def metadata(self) -> dict[str, Any]:
        """The models as they are declared now."""
        source = self.project.folder / "migrations" / "env.py"
        text = source.read_text("utf-8").partition("prepare_migrations()\n")[0]
        found: dict[str, Any] = {}
        exec(text, found)
        return found

    def table(self) -> Table:
        table: Table = self.metadata()["readings"]
        return table

    def declare(self, change: Mapping[str, Any]) -> None:
        before = dict(self.declared)
        self.declared.update(change)
        self.project.models(MODELS.format(**self.declared).replace("'func", "func"))
        self.revisions += 1
        name = f"step{self.revisions}"
        text = self.run(self.project.autogenerate(name))
        bounds = {name: self.bound(name, before) for name in ("readings", "hourly")}
        refusal = self.refusal(self.project.upgrade())
        if refusal:
            assert "would lose what is older" in refusal
            assert "rebuilt=True" in text
            self.take_back(name, before)
        else:
            self.note_bounds(bounds)
            if text:
                self.revised.append((name, before))
            # Where it was refused, a window may have become due that is wider.
            self.run(self.project.check())
        self.compare(rebuilt="rebuilt=True" in text)

    def refusal(self, migrating: Any) -> str:
        try:
            self.run(migrating)
        except MigrationError as error:
            return str(error)
        return ""

    def take_back(self, name: str, before: dict[str, Any]) -> None:
        self.declared = before
        self.project.models(MODELS.format(**before))
        [path] = self.project.versions.glob(f"*_{name}.py")
        path.unlink()

    def bound(self, source: str, declared: Mapping[str, Any]) -> datetime | None:
        kept = declared["retention" if source == "readings" else "kept_hours"]
        return None if kept == KEEP else self.clock() - timedelta(days=int(kept.split()[0]))

    def bounds(self) -> list[datetime]:
        """Before which a refresh may be refused."""
        found = [self.bound(source, self.declared) for source in ("readings", "hourly")]
        return [bound for bound in (*found, *self.dropped_until.values()) if bound]

    def note_bounds(self, bounds: Mapping[str, datetime | None]) -> None:
        for source, bound in bounds.items():
            if bound is not None:
                self.dropped_until[source] = max(bound, self.dropped_until.get(source, bound))

    @rule(retention=st.sampled_from(["10 days", "20 days", "40 days", KEEP]), jobs=st.booleans())
    def retention_changes(self, retention: str, jobs: bool) -> None:
        self.declare({"retention": retention})
        if jobs:
            self.jobs_run(["mat_hypertable_id"])

    @rule(retention=st.sampled_from(["15 days", "50 days", KEEP]))
    def retention_of_hours_changes(self, retention: str) -> None:
        self.declare({"kept_hours": retention})

    @rule(after=st.sampled_from(["2 days", "5 days", None]))
    def columnstore_changes(self, after: str | None) -> None:
        self.declare({"columnstore": after})

    @rule(total=st.sampled_from(["func.sum(readings.c.value)", "func.sum(readings.c.value + 0)"]))
    def select_changes(self, total: str) -> None:
        self.declare({"total": total})

    @rule(jobs=st.booleans())
    @precondition(lambda self: len(self.revised) > 1)
    def migrations_go_down_and_up(self, jobs: bool) -> None:
        name, before = self.revised[-1]
        [path] = self.project.versions.glob(f"*_{name}.py")
        rebuilt = "rebuilt=True" in path.read_text("utf-8")
        bounds = {name: self.bound(name, self.declared) for name in ("readings", "hourly")}
        refusal = self.refusal(self.project.downgrade())
        if not refusal:
            self.compare(rebuilt=rebuilt)
            if jobs:
                self.jobs_run(list(KINDS))
            refusal = self.refusal(self.project.upgrade())
            if refusal:
                # Its source has lost rows meanwhile.
                self.take_back(name, before)
                self.revised.pop()
        assert not refusal or (rebuilt and "would lose what is older" in refusal)
        self.note_bounds(bounds)
        self.compare(rebuilt=rebuilt)

    # -----------------------------------------------------------------------------------
    # Jobs and time
    # -----------------------------------------------------------------------------------
    @rule(kinds=st.permutations(KINDS))
    def jobs_run(self, kinds: list[str]) -> None:
        for kind in kinds:
            for job, name in self.project.query(
                "SELECT job_id, hypertable_name FROM timescaledb_information.jobs"
                f" WHERE hypertable_name IS NOT NULL AND config ? '{kind}' ORDER BY job_id"
            ):
                self.project.query(f"CALL run_job({job})")
                self.compare(dropped=name if kind == "drop_after" else None)

    @rule(days=st.sampled_from([1, 3, 10, 25]))
    def time_passes(self, days: int) -> None:
        """On the engine of the tests; the clock of a native server is nobody's."""
        self.passed += days * DAY
        self.project.query(f"SET engine.seconds_ahead = {int(self.passed.total_seconds())}")

    @rule(level=st.sampled_from(LEVELS))
    def refresh(self, level: str) -> None:
        aggregate = self.metadata()[level]
        self.run(refresh(self.database, aggregate))
        self.compare()

    # -----------------------------------------------------------------------------------
    # The truth
    # -----------------------------------------------------------------------------------
    def summed(self, level: str) -> Buckets:
        """What a level must hold where all of its source is there."""
        found: Buckets = {}
        source = (
            {time: (value, 1) for time, value in self.readings.items()}
            if level == "hourly"
            else self.stored["hourly"]
        )
        for time, (value, n) in source.items():
            total, count = found.get(bucket_of(level, time), (0.0, 0))
            found[bucket_of(level, time)] = total + value, count + n
        return found

    def compare(
        self, *, dropped: str | None = None, deleted: bool = False, rebuilt: bool = False
    ) -> None:
        old_readings, old = self.readings, self.stored
        self.readings = dict(self.project.query("SELECT at, value FROM readings"))
        self.stored = {
            level: {
                bucket: (total, int(n))
                for bucket, total, n in self.project.query(f"SELECT * FROM {level}")
            }
            for level in LEVELS
        }
        if not deleted:
            assert dropped == "readings" or old_readings.keys() <= self.readings.keys()
        if dropped == "readings":
            lost = old_readings.keys() - self.readings.keys()
            self.gone["hourly"] |= {bucket_of("hourly", time) for time in lost}
        if dropped == "hourly":
            lost = old["hourly"].keys() - self.stored["hourly"].keys()
            self.gone["daily"] |= {bucket_of("daily", time) for time in lost}
        for level in LEVELS:
            if dropped == level:
                continue
            summed = self.summed(level)
            for bucket in old[level].keys() | self.stored[level].keys():
                was, now = old[level].get(bucket), self.stored[level].get(bucket)
                if bucket in self.gone[level] and was is not None:
                    assert now == was, f"The bucket {bucket} of {level} was {was} and is {now}."
                elif now != was:
                    assert now == summed.get(bucket), f"{bucket} of {level} is neither old nor new."


@pytest.mark.standard("DL-TS-09")
@pytest.mark.standard("DL-TS-04")
@pytest.mark.standard("DL-TS-05")
def test_no_sequence_loses_history(server: URL) -> None:
    machine = type("LivingHere", (Living,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=5,
            stateful_step_count=12,
            derandomize=True,
            database=None,
            deadline=None,
            # What fails is found again by the same steps; to make them fewer would take minutes.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
