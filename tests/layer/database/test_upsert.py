import asyncio
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest
from sqlalchemy import func, select, text

from my_project.data_layer.database import (
    Database,
    RowRejected,
    UnknownColumn,
    Upserted,
    upsert,
)

from .tables import Account, Bar, Mood, Reading

pytestmark = pytest.mark.standard("DL-SQL-02")

DAY = date(2026, 1, 1)


async def upserted(database: Database, model: Any, rows: Any, **options: Any) -> Upserted:
    async with database.transaction() as session:
        return await upsert(session, model, rows, **options)


async def balances(database: Database) -> dict[str, tuple[Decimal, int]]:
    async with database.read_only() as session:
        accounts = (await session.scalars(select(Account))).all()
    return {account.owner: (account.balance, account.version) for account in accounts}


async def test_inserted_updated_unchanged(database: Database) -> None:
    rows = [{"owner": "ada", "balance": Decimal(1)}, {"owner": "bob", "balance": Decimal(2)}]
    assert await upserted(database, Account, rows, key=["owner"]) == Upserted(2, 0, 0)
    assert await upserted(database, Account, rows, key=["owner"]) == Upserted(0, 0, 2)
    rows = [*rows, {"owner": "cat", "balance": Decimal(3)}]
    rows[1] = {"owner": "bob", "balance": Decimal(20)}
    assert await upserted(database, Account, rows, key=["owner"]) == Upserted(1, 1, 1)
    assert await balances(database) == {
        "ada": (Decimal(1), 1),
        "bob": (Decimal(20), 2),
        "cat": (Decimal(3), 1),
    }


async def test_an_update_does_what_the_orm_would_do(database: Database) -> None:
    row = {"owner": "ada", "balance": Decimal(1)}
    await upserted(database, Account, [row], key=["owner"])
    async with database.read_only() as session:
        before = (await session.scalars(select(Account))).one()
    await upserted(database, Account, [{**row, "balance": Decimal(2)}], key=["owner"])
    async with database.read_only() as session:
        after = (await session.scalars(select(Account))).one()
    assert (after.version, after.id) == (2, before.id)
    assert after.updated_at > before.updated_at
    assert after.created_at == before.created_at


async def test_a_row_that_is_the_same_is_not_rewritten(database: Database) -> None:
    rows = [("btc", DAY, Decimal(1), {"a": 1}), ("eth", DAY, Decimal(1), None)]
    place = text("SELECT symbol, ctid::text, xmin::text FROM layer_test.bar ORDER BY symbol")
    await upserted(database, Bar, rows, key=["symbol", "day"])
    async with database.read_only() as session:
        before = (await session.execute(place)).all()
    assert await upserted(database, Bar, rows, key=["symbol", "day"]) == Upserted(0, 0, 2)
    async with database.read_only() as session:
        assert (await session.execute(place)).all() == before


async def test_null_and_json_count_as_differences(database: Database) -> None:
    key = ["symbol", "day"]
    for source, expected in (
        ({"a": 1}, Upserted(1, 0, 0)),
        ({"a": 2}, Upserted(0, 1, 0)),
        (None, Upserted(0, 1, 0)),
        (None, Upserted(0, 0, 1)),
        ({"a": 1}, Upserted(0, 1, 0)),
    ):
        rows = [("btc", DAY, Decimal(1), source)]
        assert await upserted(database, Bar, rows, key=key) == expected


async def test_the_last_of_several_rows_with_one_key_wins(database: Database) -> None:
    rows = [("ada", Decimal(number)) for number in range(9)] + [("bob", Decimal(1))]
    columns = ["owner", "balance"]
    assert await upserted(database, Account, rows, key=["owner"], columns=columns) == Upserted(
        2, 0, 0
    )
    rows = [("ada", Decimal(7)), ("ada", Decimal(8))]
    assert await upserted(database, Account, rows, key=["owner"], columns=columns) == Upserted(
        0, 0, 1
    )
    assert await balances(database) == {"ada": (Decimal(8), 1), "bob": (Decimal(1), 1)}


async def test_two_upserts_in_one_transaction(database: Database) -> None:
    async with database.transaction() as session:
        for balance in (1, 2):
            rows = [{"owner": "ada", "balance": Decimal(balance)}]
            await upsert(session, Account, rows, key=["owner"])
        staging = text("SELECT count(*) FROM pg_class WHERE relname LIKE 'staging_%'")
        assert (await session.execute(staging)).scalar() == 0
    assert await balances(database) == {"ada": (Decimal(2), 2)}


async def test_only_the_columns_of_update_are_updated(database: Database) -> None:
    rows = [{"id": 1, "body": "old", "small": 1}]
    await upserted(database, Reading, rows, key=["id"])
    rows = [{"id": 1, "body": "new", "small": 2}]
    one = await upserted(database, Reading, rows, key=["id"], update=["small"])
    none = await upserted(database, Reading, rows, key=["id"], update=[])
    assert (one, none) == (Upserted(0, 1, 0), Upserted(0, 0, 1))
    async with database.read_only() as session:
        reading = await session.get_one(Reading, 1)
    assert (reading.body, reading.small) == ("old", 2)


async def test_an_identity_key_that_is_given(database: Database) -> None:
    rows = [{"id": 7, "owner": "ada"}]
    assert await upserted(database, Account, rows, key=["id"]) == Upserted(1, 0, 0)
    rows = [{"id": 7, "owner": "bob"}]
    assert await upserted(database, Account, rows, key=["id"]) == Upserted(0, 1, 0)


async def test_every_type_and_arrow(database: Database) -> None:
    row = {"id": 1, "mood": Mood.calm, "size": 3, "counts": [1], "document": {"a": 1}}
    assert await upserted(database, Reading, [row], key=["id"]) == Upserted(1, 0, 0)
    assert await upserted(database, Reading, [row], key=["id"]) == Upserted(0, 0, 1)
    table = pyarrow.table({"id": [1, 2], "body": ["a", "b"]})
    assert await upserted(database, Reading, table, key=["id"]) == Upserted(1, 1, 0)
    assert await upserted(database, Reading, [], key=["id"]) == Upserted(0, 0, 0)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"key": []}, UnknownColumn, "no key"),
        ({"key": ["id"]}, UnknownColumn, "lack id"),
        ({"key": ["owner"], "update": ["version"]}, UnknownColumn, "lack version"),
        ({"key": ["balance"]}, RowRejected, "unique constraint of account covers exactly balance"),
    ],
)
async def test_a_wrong_key_is_named(
    database: Database, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        await upserted(database, Account, [{"owner": "ada", "balance": Decimal(1)}], **options)


async def test_a_broken_constraint_leaves_nothing(database: Database) -> None:
    with pytest.raises(RowRejected, match="no_bad_luck"):
        await upserted(
            database, Reading, [{"id": 1, "small": 1}, {"id": 2, "small": 13}], key=["id"]
        )
    with pytest.raises(RowRejected) as raised:
        await upserted(
            database, Reading, [{"id": 1, "small": 1}, {"id": 2, "small": 2**15}], key=["id"]
        )
    assert raised.value.row == 2
    async with database.read_only() as session:
        assert (await session.execute(select(func.count()).select_from(Reading))).scalar() == 0


async def test_upserts_at_once_neither_deadlock_nor_lose(database: Database) -> None:
    owners = [f"owner{number:03}" for number in range(100)]

    async def work(number: int) -> Upserted:
        rows = [{"owner": owner, "balance": Decimal(number)} for owner in owners]
        return await upserted(database, Account, rows[:: (-1) ** number], key=["owner"])

    done = await asyncio.gather(*(work(number) for number in range(8)))
    assert sum(result.inserted for result in done) == 100
    assert all(result.inserted + result.updated + result.unchanged == 100 for result in done)
    stored = await balances(database)
    assert len(stored) == 100
    assert {version for _, version in stored.values()} == {8}
