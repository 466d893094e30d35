"""TimescaleDB as this project is set up: from the declaration of a model to its summed-up rows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import produce_migrations
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import ModifyTableOps
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, Index, MetaData, Select, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from tests.data_layer import layer
from tests.data_layer.conftest import Ask
from tests.data_layer.fixtures import settings_of

MIDNIGHT = datetime(2024, 1, 1, tzinfo=UTC)


class Own(layer.database.Base):
    """Tables that belong to these tests alone."""

    __abstract__ = True
    metadata = MetaData(naming_convention=layer.database.NAMING_CONVENTION)


class Reading(Own):
    """What a station measured."""

    __tablename__ = "readings"
    __table_args__ = (
        Index("ix_readings_taken_at", "taken_at"),
        layer.timescaledb.Hypertable(
            "taken_at", segment_by=["station"], retention=layer.timescaledb.KEEP
        ),
    )

    station: Mapped[str] = mapped_column(primary_key=True)
    taken_at: Mapped[datetime] = mapped_column(primary_key=True)
    celsius: Mapped[float]


def _of_readings() -> Select[str, datetime, float, int]:
    hour = layer.timescaledb.time_bucket("1 hour", Reading.taken_at)
    return select(
        Reading.station,
        hour.label("bucket"),
        func.max(Reading.celsius).label("warmest"),
        func.count().label("readings"),
    ).group_by(Reading.station, hour)


HOURLY = layer.timescaledb.ContinuousAggregate("hourly", _of_readings())


def operations(connection: Connection) -> tuple[MigrationContext, list[MigrateOperation]]:
    """What autogenerate finds missing in a database."""
    layer.wiring.prepare_migrations()
    context = MigrationContext.configure(connection, opts={"autogenerate_plugins": ["*"]})
    found = produce_migrations(context, Own.metadata).upgrade_ops
    assert found is not None
    steps: list[MigrateOperation] = []
    for step in found.ops:
        steps += step.ops if isinstance(step, ModifyTableOps) else [step]
    return context, steps


def migrate(connection: Connection) -> None:
    context, steps = operations(connection)
    for step in steps:
        Operations(context).invoke(step)


@pytest.fixture
async def stations(empty_database_url: URL) -> AsyncIterator[layer.database.Database]:
    """A database with the hypertable, its aggregate, and a reading every minute of two days."""
    rows = [
        ("Brocken", MIDNIGHT + timedelta(minutes=minute), minute / 60) for minute in range(2880)
    ]
    async with layer.database.Database.open(settings_of(empty_database_url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(migrate)
        async with database.transaction() as session:
            assert await layer.database.copy_in(session, Reading, rows) == len(rows)
        yield database


@pytest.mark.standard("DL-TS-02")
@pytest.mark.standard("DL-TS-03")
@pytest.mark.standard("DL-TS-05")
async def test_what_is_declared_is_made_summed_up_and_turned_into_columns(
    stations: layer.database.Database,
) -> None:
    async with stations.engine.connect() as connection:
        _, steps = await connection.run_sync(operations)
    assert [step.to_diff_tuple() for step in steps] == []

    async def hour(number: int) -> tuple[float, int]:
        async with stations.read_only() as session:
            row = await session.execute(
                select(HOURLY.c.warmest, HOURLY.c.readings).where(
                    HOURLY.c.bucket == MIDNIGHT + timedelta(hours=number)
                )
            )
        warmest, readings = row.one()
        return warmest, readings

    await layer.timescaledb.refresh(stations, HOURLY)
    assert await hour(1) == (119 / 60, 60)
    late = [("Brocken", MIDNIGHT + timedelta(minutes=90, seconds=1), 40.0)]
    done = await layer.timescaledb.backfill(stations, Reading, late, key=["station", "taken_at"])
    assert done.rows.inserted == 1
    assert await hour(1) == (40.0, 61)
    assert await hour(2) == (179 / 60, 60)

    query = select(func.count(), func.sum(Reading.celsius))
    async with stations.transaction() as session:
        before = (await session.execute(query)).one()
        chunks = (await session.scalars(text("SELECT show_chunks('readings')"))).all()
        await session.execute(text(f"CALL convert_to_columnstore('{chunks[0]}')"))
    assert len(chunks) == 2
    async with stations.read_only() as reading:
        assert (await reading.execute(query)).one() == pytest.approx(before)
        columnar = text(
            "SELECT count(*) FROM timescaledb_information.chunks"
            " WHERE hypertable_name = 'readings' AND is_compressed"
        )
        assert await reading.scalar(columnar) == 1


@pytest.mark.usefixtures("database_in_environment")
async def test_the_project_keeps_to_the_standard(ask: Ask) -> None:
    # The other checks of DL-TS judge a permanent server.
    await ask(*(f"DL-TS-0{number}" for number in (1, 2, 3, 4, 5, 9)))
