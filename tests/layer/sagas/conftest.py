"""A database with the tables of sagas, the outbox and the bank, and an exchange."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from my_project.data_layer.database import Database, DatabaseSettings
from my_project.data_layer.sagas import models

from . import bank
from .exchange import Exchange, open_exchange
from .servers import DEBIAN


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pgbouncer: wants Debian's packages, which apt brings")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanting = [item for item in items if item.get_closest_marker("pgbouncer")]
    if wanting and not DEBIAN:
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if item not in wanting]


def pytest_report_header() -> str | None:
    return None if DEBIAN else "sagas: no PgBouncer, since this machine has no apt-get"


@pytest.fixture(scope="package", autouse=True)
async def _tables(database_settings: DatabaseSettings) -> AsyncIterator[None]:
    both = (models.Own.metadata, bank.Own.metadata)
    async with Database.open(database_settings) as database:
        async with database.engine.begin() as connection:
            for metadata in both:
                await connection.run_sync(metadata.create_all)
        yield
        async with database.engine.begin() as connection:
            for metadata in both:
                await connection.run_sync(metadata.drop_all)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with open_exchange() as exchange:
        yield exchange


class Bank:
    """Accounts and their sagas."""

    def __init__(self, database: Database, exchange: Exchange, folder: Path) -> None:
        self.database = database
        self.exchange = exchange
        self.folder = folder

    async def start(self, account: int = 1, **changes: int) -> None:
        """Open the account and start its saga."""
        arguments = bank.Booking(
            account=account, url=self.exchange.url, folder=str(self.folder), **changes
        )
        async with self.database.transaction() as session:
            session.add(bank.Account(id=account, cash=bank.CASH))
            await session.flush()
            await bank.booking.start(session, arguments, key=str(account))

    def order(self, action: str, point: str) -> None:
        """Let the first worker that passes there die or freeze."""
        (self.folder / f"{action} {point}").touch()

    def did(self, action: str) -> list[int]:
        """The process ids of the workers that have died or frozen."""
        return [int(path.name.split()[0]) for path in self.folder.glob(f"* did {action}")]

    async def saga(self, account: int = 1) -> models.SagaRow:
        async with self.database.read_only() as session:
            row = await session.scalar(
                select(models.SagaRow).where(models.SagaRow.key == str(account))
            )
        assert row is not None
        return row

    async def judge(self, account: int = 1, *, live: int = 1) -> str:
        """Compare money and the exchange's own book with the end of the saga, and return it."""
        row = await self.saga(account)
        async with self.database.read_only() as session:
            owner = await session.get_one(bank.Account, account)
        money = (owner.cash, owner.held, owner.settled)
        if row.status == "completed":
            assert money == (bank.CASH - bank.AMOUNT, 0, bank.AMOUNT)
            assert self.exchange.live == live
        else:
            assert row.status == "compensated", row.reason
            assert money == (bank.CASH, 0, 0)
            assert self.exchange.live == live - 1
        return row.status


@pytest.fixture
def desk(database: Database, exchange: Exchange, tmp_path: Path) -> Bank:
    return Bank(database, exchange, tmp_path)
