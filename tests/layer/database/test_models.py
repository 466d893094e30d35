from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import DateTime, Identity, MetaData, Table, Text, update
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Mapped, mapped_column

from my_project.data_layer.database import Base, Database

from .tables import Account, Model, Note, Reading


def test_tests_leave_the_applications_metadata_alone() -> None:
    assert not [name for name in Base.metadata.tables if name.startswith("layer_test")]
    assert isinstance(Base.metadata, MetaData)


@pytest.mark.standard("DL-ORM-02")
def test_constraints_are_named_by_the_convention() -> None:
    account, reading = Account.__table__, Reading.__table__
    assert isinstance(account, Table)
    assert isinstance(reading, Table)
    assert {constraint.name for constraint in account.constraints} == {
        "pk_account",
        "uq_account_owner",
    }
    assert "ck_reading_no_bad_luck" in {constraint.name for constraint in reading.constraints}


@pytest.mark.standard("DL-ORM-02")
def test_python_types_become_the_right_column_types() -> None:
    columns = Account.__table__.columns
    assert isinstance(columns["owner"].type, Text)
    created = columns["created_at"].type
    assert isinstance(created, DateTime)
    assert created.timezone
    identity = columns["id"].identity
    assert isinstance(identity, Identity)
    assert identity.always
    assert not columns["created_at"].nullable


def test_a_decimal_must_state_its_precision() -> None:
    with pytest.raises(ArgumentError, match="precision"):

        class _Unbounded(Model):
            __tablename__ = "unbounded"
            id: Mapped[int] = mapped_column(primary_key=True)
            price: Mapped[Decimal]

    assert "layer_test.unbounded" not in Model.metadata.tables


async def test_the_server_fills_keys_and_times(database: Database) -> None:
    async with database.transaction() as session:
        note, account = Note(body="x"), Account(owner="ada")
        session.add_all([note, account])
    assert note.id.version == 4
    assert account.id > 0
    assert abs(account.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert account.version == 1


async def test_an_update_brings_back_what_the_server_computed(database: Database) -> None:
    async with database.transaction() as session:
        account = Account(owner="ada")
        session.add(account)
    created = account.updated_at
    async with database.transaction() as session:
        changed = await session.get_one(Account, account.id)
        changed.balance = Decimal(5)
        await session.flush()
        # Without eager defaults this access would have to load, which an async session can't.
        assert changed.updated_at > created
        assert changed.version == 2


@pytest.mark.standard("DL-TX-04")
async def test_an_update_statement_counts_the_version_too(database: Database) -> None:
    async with database.transaction() as session:
        account = Account(owner="ada")
        session.add(account)
    async with database.transaction() as session:
        await session.execute(update(Account).values(balance=Account.balance + 1))
    async with database.read_only() as reading:
        assert (await reading.get_one(Account, account.id)).version == 2
