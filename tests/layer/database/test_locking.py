# ruff: noqa: PT012 (what is raised comes out of a whole transaction)
import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm.exc import StaleDataError

from my_project.data_layer.database import (
    Database,
    NotFound,
    StaleVersion,
    expecting,
)

from .tables import Account

pytestmark = pytest.mark.standard("DL-TX-04")


async def opened(database: Database, owner: str = "ada") -> Account:
    async with database.transaction() as session:
        account = Account(owner=owner)
        session.add(account)
    return account


async def read(database: Database, key: int) -> Account:
    async with database.read_only() as session:
        return await session.get_one(Account, key)


async def test_the_expected_version_is_counted_up(database: Database) -> None:
    account = await opened(database)
    async with (
        database.transaction() as session,
        expecting(session, Account, account.id, 1) as row,
    ):
        row.balance = Decimal(10)
    assert row.version == 2
    stored = await read(database, account.id)
    assert (stored.version, stored.balance) == (2, Decimal(10))


async def test_another_version_is_refused_with_the_current_one(database: Database) -> None:
    account = await opened(database)
    with pytest.raises(StaleVersion) as raised:
        async with (
            database.transaction() as session,
            expecting(session, Account, account.id, 7) as row,
        ):
            row.balance = Decimal(10)
    stale = raised.value
    assert (stale.entity, stale.key, stale.expected, stale.current) == ("Account", account.id, 7, 1)
    assert "version 1" in str(stale)
    assert (await read(database, account.id)).balance == 0


async def test_a_row_that_never_was_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound) as raised:
        async with (
            database.transaction() as session,
            expecting(session, Account, 4711, 1),
        ):
            pytest.fail("there was no row for this block")
    assert (raised.value.entity, raised.value.key) == ("Account", 4711)


async def test_of_two_writers_exactly_one_wins(database: Database) -> None:
    account = await opened(database)
    meeting = asyncio.Barrier(2)

    async def write(amount: int) -> Decimal:
        async with (
            database.transaction() as session,
            expecting(session, Account, account.id, 1) as row,
        ):
            await meeting.wait()
            row.balance = Decimal(amount)
        return row.balance

    results = await asyncio.gather(write(10), write(20), return_exceptions=True)
    [lost] = [result for result in results if isinstance(result, StaleVersion)]
    [won] = [result for result in results if isinstance(result, Decimal)]
    assert (lost.expected, lost.current) == (1, 2)
    stored = await read(database, account.id)
    assert (stored.version, stored.balance) == (2, won)


async def test_two_hundred_writers_lose_nothing(database: Database) -> None:
    account = await opened(database)
    lost = 0

    async def add_one() -> None:
        nonlocal lost
        while True:
            try:
                async with database.transaction() as session:
                    current = await session.get_one(Account, account.id)
                    async with expecting(session, Account, account.id, current.version) as row:
                        row.balance += 1
                return
            except StaleVersion:
                lost += 1

    gate = asyncio.Semaphore(5)

    async def in_turn() -> None:
        # Of those that race only one wins: with more at once, nearly all of the work is in vain.
        async with gate:
            await add_one()

    await asyncio.gather(*(in_turn() for _ in range(200)))
    stored = await read(database, account.id)
    assert (stored.balance, stored.version) == (Decimal(200), 201)
    assert lost > 0


async def test_a_deleted_row_is_stale_without_a_current_version(database: Database) -> None:
    account = await opened(database)
    with pytest.raises(StaleVersion, match="is gone") as raised:
        async with (
            database.transaction() as session,
            expecting(session, Account, account.id, 1) as row,
        ):
            async with database.transaction() as other:
                await other.execute(delete(Account))
            row.balance = Decimal(10)
    assert raised.value.current is None


async def test_a_delete_expects_a_version_too(database: Database) -> None:
    account = await opened(database)
    with pytest.raises(StaleVersion) as raised:
        async with (
            database.transaction() as session,
            expecting(session, Account, account.id, 1) as row,
        ):
            async with database.transaction() as other:
                (await other.get_one(Account, account.id)).balance = Decimal(1)
            await session.delete(row)
    assert raised.value.current == 2
    async with (
        database.transaction() as session,
        expecting(session, Account, account.id, 2) as row,
    ):
        await session.delete(row)
    async with database.read_only() as reading:
        assert await reading.get(Account, account.id) is None


async def test_a_lost_race_leaves_the_transaction_usable(database: Database) -> None:
    account, other_account = await opened(database), await opened(database, "bob")
    async with database.transaction() as session:
        session.add(Account(owner="before"))
        with pytest.raises(StaleVersion):
            async with expecting(session, Account, account.id, 1) as row:
                async with database.transaction() as other:
                    (await other.get_one(Account, account.id)).balance = Decimal(1)
                row.balance = Decimal(10)
        async with expecting(session, Account, other_account.id, 1) as row:
            row.balance = Decimal(20)
    async with database.read_only() as reading:
        accounts = await reading.scalars(select(Account))
        balances = {account.owner: account.balance for account in accounts}
    assert balances == {"ada": 1, "bob": 20, "before": 0}


async def test_another_rows_conflict_is_not_mistaken_for_this_ones(database: Database) -> None:
    account, other_account = await opened(database), await opened(database, "bob")
    with pytest.raises(StaleDataError):
        async with database.transaction() as session:
            bystander = await session.get_one(Account, other_account.id)
            async with expecting(session, Account, account.id, 1) as row:
                async with database.transaction() as other:
                    (await other.get_one(Account, other_account.id)).balance = Decimal(1)
                row.balance = bystander.balance = Decimal(10)
    assert (await read(database, account.id)).version == 1


async def test_an_error_in_the_block_undoes_its_changes(database: Database) -> None:
    account = await opened(database)
    async with database.transaction() as session:
        with pytest.raises(ZeroDivisionError):
            async with expecting(session, Account, account.id, 1) as row:
                row.balance = Decimal(10)
                await session.flush()
                raise ZeroDivisionError
    stored = await read(database, account.id)
    assert (stored.version, stored.balance) == (1, Decimal(0))
