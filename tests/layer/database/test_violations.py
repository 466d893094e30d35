"""What a row breaks is named, and no value of the row is in any message, traceback or log."""

# ruff: noqa: PT012 (what is raised comes out of a whole transaction)
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Enum,
    ForeignKey,
    MetaData,
    bindparam,
    delete,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from my_project.data_layer.database import (
    NAMING_CONVENTION,
    Base,
    Database,
    RowRejected,
    StatementTimeout,
    Violation,
    WriteSession,
    copy_in,
    upsert,
)

SECRET = "Ada Lovelace"
TABLE = "violation_patients"


class Own(Base):
    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Ward(Own):
    __tablename__ = "violation_wards"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Patient(Own):
    __tablename__ = TABLE
    __table_args__ = (
        CheckConstraint("age < 150", name="age"),
        ExcludeConstraint(("bed", "="), name="ex_bed", using="btree"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(unique=True)
    age: Mapped[int | None]
    bed: Mapped[int | None]
    mood: Mapped[Any | None] = mapped_column(Enum("calm", "angry", name="violation_mood"))
    ward: Mapped[int | None] = mapped_column(
        ForeignKey("violation_wards.id", deferrable=True, initially="DEFERRED")
    )
    first_ward: Mapped[int | None] = mapped_column(
        ForeignKey("violation_wards.id", ondelete="RESTRICT")
    )


class Note(Own):
    """An array of an enum makes COPY send text, whose lines the server quotes."""

    __tablename__ = "violation_notes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    moods: Mapped[list[Any]] = mapped_column(ARRAY(Enum("calm", "angry", name="violation_mood")))


@pytest.fixture(scope="module", autouse=True)
async def _patients(database_settings: Any) -> AsyncIterator[None]:
    async with Database.open(database_settings) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Own.metadata.create_all)
        yield
        async with database.engine.begin() as connection:
            await connection.run_sync(Own.metadata.drop_all)


@pytest.fixture(autouse=True)
async def _first(database: Database, _patients: None) -> None:
    async with database.transaction() as session:
        session.add(Ward(id=1))
        await session.flush()
        session.add(Patient(id=1, name=SECRET, age=36, bed=1, ward=1, first_ward=1))


def without_secret(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Log the error as a server would, and read everything that was logged."""
    logging.getLogger("test").error("failed", exc_info=error)
    written = caplog.text + "".join(traceback.format_exception(error)) + repr(error)
    assert type(error).__name__ in written
    for word in SECRET.split():
        assert word not in written


Work = Callable[[WriteSession], Awaitable[Any]]


def adding(**values: Any) -> Work:
    async def add(session: WriteSession) -> None:
        session.add(Patient(**({"id": 2, "name": f"{SECRET} II"} | values)))

    return add


def running(statement: Any, **values: Any) -> Work:
    async def run(session: WriteSession) -> None:
        await session.execute(statement, values)

    return run


RAW = text(
    "INSERT INTO violation_patients (id, name, mood) "
    "VALUES (2, :name, CAST(:mood AS violation_mood))"
)
OWN = f"{TABLE}_"


@pytest.mark.parametrize(
    ("work", "kind", "constraint", "column"),
    [
        (adding(name=SECRET), "unique", f"uq_{OWN}name", None),
        (adding(id=1), "unique", f"pk_{TABLE}", None),
        (adding(bed=1), "exclusion", "ex_bed", None),
        (adding(first_ward=7), "foreign key", f"fk_{OWN}first_ward_violation_wards", None),
        (adding(ward=7), "foreign key", f"fk_{OWN}ward_violation_wards", None),
        (running(delete(Ward)), "foreign key", f"fk_{OWN}first_ward_violation_wards", None),
        (adding(age=150), "check", f"ck_{OWN}age", None),
        (adding(name=None), "not null", None, "name"),
        (adding(mood=SECRET), "value", None, None),
        (adding(name=f"{SECRET}\0"), "value", None, None),
        (adding(name=f"{SECRET}\ud800"), "value", None, None),
        (adding(age=2**31), "value", None, None),
        (adding(age=2**63), "value", None, None),
        (running(RAW, name="x", mood=SECRET), "value", None, None),
        (running(text("SELECT CAST(:x AS int)"), x=SECRET), "value", None, None),
        (running(text("SELECT CAST(:x AS jsonb)"), x=SECRET), "value", None, None),
        (
            running(select(Patient).where(Patient.id == bindparam("x")), x=2**70),
            "value",
            None,
            None,
        ),
    ],
)
async def test_each_kind_is_named_without_the_row(
    database: Database,
    caplog: pytest.LogCaptureFixture,
    work: Work,
    kind: str,
    constraint: str | None,
    column: str | None,
) -> None:
    with pytest.raises(Violation) as raised:
        async with database.transaction() as session:
            await work(session)
    without_secret(raised.value, caplog)
    assert (raised.value.kind, raised.value.constraint, raised.value.column) == (
        kind,
        constraint,
        column,
    )
    assert raised.value.table == (None if kind == "value" else TABLE)
    assert (constraint or column or "value") in str(raised.value)
    assert await names(database) == [SECRET]


async def names(database: Database) -> list[str]:
    async with database.read_only() as session:
        return list(await session.scalars(select(Patient.name)))


async def test_within_a_savepoint_it_may_be_caught(database: Database) -> None:
    async with database.transaction() as session:
        session.add(Patient(id=2, name="Grace"))
        with pytest.raises(Violation, match=f"uq_{OWN}name"):
            async with session.begin_nested():
                session.add(Patient(id=3, name=SECRET))
    assert sorted(await names(database)) == [SECRET, "Grace"]


async def test_a_deferred_constraint_fails_the_commit_and_no_effect_runs(
    database: Database,
) -> None:
    ran: list[int] = []

    async def effect() -> None:
        ran.append(1)

    with pytest.raises(Violation, match="refers to a row"):
        async with database.transaction() as session:
            await session.execute(insert(Patient).values(id=2, name="Grace", ward=7))
            # The commit is known to have failed, so nothing needs to be dropped from a cache.
            session.after_commit(effect, or_unknown=True)
    assert not ran


async def test_in_a_serializable_transaction_too(database: Database) -> None:
    with pytest.raises(Violation):
        await database.serializable(adding(name=SECRET))


async def test_a_fault_of_the_statement_is_no_violation(database: Database) -> None:
    for statement in ("SELECT 1 / 0", "SELECT nonsense"):
        with pytest.raises(Exception, match=r"division|nonsense") as raised:
            async with database.transaction() as session:
                await session.execute(text(statement))
        assert not isinstance(raised.value, Violation)


@pytest.mark.parametrize("load", [copy_in, upsert])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"name": SECRET}, "unique"),
        ({"bed": 1}, "exclusion"),
        ({"first_ward": 7}, "foreign key"),
        ({"age": 150}, "check"),
        ({"name": None}, "not null"),
        ({"mood": SECRET}, "value"),
        ({"age": SECRET}, "value"),
        ({"name": f"{SECRET}\0"}, "value"),
    ],
)
async def test_a_load_says_no_value_either(
    database: Database, caplog: pytest.LogCaptureFixture, load: Any, values: Any, kind: str
) -> None:
    options = {"key": ["id"]} if load is upsert else {}
    row = {"id": 2, "name": f"{SECRET} II"} | values
    with pytest.raises(RowRejected) as raised:
        async with database.transaction() as session:
            await load(session, Patient, [row], **options)
    without_secret(raised.value, caplog)
    assert raised.value.kind == kind


SLOW = (
    "CREATE FUNCTION violation_slow() RETURNS trigger LANGUAGE plpgsql "
    "AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$",
    "CREATE TRIGGER slow BEFORE INSERT ON violation_notes "
    "FOR EACH ROW EXECUTE FUNCTION violation_slow()",
    "SET LOCAL statement_timeout = '100ms'",
)


async def test_a_load_that_is_stopped_quotes_no_row(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StatementTimeout) as raised:
        async with database.transaction() as session:
            for statement in SLOW:
                await session.execute(text(statement))
            await copy_in(session, Note, [{"id": 2, "name": SECRET, "moods": ["calm"]}])
    without_secret(raised.value, caplog)
