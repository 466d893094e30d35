"""Reserve, book at the exchange, clear, settle: the saga of these tests, and points to die at."""

import os
import signal
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import CheckConstraint, MetaData, update
from sqlalchemy.orm import Mapped, mapped_column

from my_project.data_layer.database import NAMING_CONVENTION, Base, WriteSession
from my_project.data_layer.sagas import Saga, StepCall, Topic, Undo, UndoCall, calling
from my_project.data_layer.sagas.outbox import Message

from .exchange import post

CASH = 1000
AMOUNT = 100


class Own(Base):
    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Account(Own):
    __tablename__ = "tests_accounts"
    __table_args__ = (CheckConstraint("cash >= 0", name="cash_not_negative"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cash: Mapped[int]
    held: Mapped[int] = mapped_column(default=0)
    settled: Mapped[int] = mapped_column(default=0)


class Booking(BaseModel):
    account: int
    url: str
    folder: str
    amount: int = AMOUNT


def pass_(call: StepCall[Booking], point: str) -> None:
    """Die or freeze here if the test said so in a file of this name, once."""
    for action, number in (("die", signal.SIGKILL), ("freeze", signal.SIGSTOP)):
        order = Path(call.arguments.folder, f"{action} {point}")
        try:
            order.rename(order.with_name(f"{os.getpid()} did {action}"))
        except FileNotFoundError:
            continue
        os.kill(os.getpid(), number)


async def move(session: WriteSession, call: StepCall[Booking], cash: int, held: int) -> None:
    amount = call.arguments.amount
    await session.execute(
        update(Account)
        .where(Account.id == call.arguments.account)
        .values(
            cash=Account.cash + cash * amount,
            held=Account.held + held * amount,
            settled=Account.settled - (cash + held) * amount,
        )
    )


def passes_after_commit(session: WriteSession, call: StepCall[Booking], point: str) -> None:
    async def effect() -> None:
        pass_(call, point)

    session.after_commit(effect)


booking = Saga("tests.booking", Booking)


async def release(session: WriteSession, call: UndoCall[Booking]) -> None:
    pass_(call, "release begin")
    await move(session, call, 1, -1)
    passes_after_commit(session, call, "release commit")
    pass_(call, "release end")


@booking.local(undo=release, backoff=0.02)
async def reserve(session: WriteSession, call: StepCall[Booking]) -> None:
    pass_(call, "reserve begin")
    await move(session, call, -1, 1)
    passes_after_commit(session, call, "reserve commit")
    pass_(call, "reserve end")


async def cancel(call: UndoCall[Booking]) -> None:
    pass_(call, "cancel begin")
    await post(call.arguments.url, "cancel", call.key)
    pass_(call, "cancel end")


@booking.remote(undo=cancel, attempts=4, backoff=0.02, timeout=60.0)
async def book(call: StepCall[Booking]) -> str:
    pass_(call, "book begin")
    await post(call.arguments.url, "book", call.key)
    pass_(call, "book end")
    return f"order {call.key}"


@booking.remote(undo=Undo.NOTHING, attempts=4, backoff=0.02, timeout=2.0)
async def clear(call: StepCall[Booking]) -> None:
    pass_(call, "clear begin")
    await post(call.arguments.url, "clear", call.key)
    pass_(call, "clear end")


@booking.local(undo=Undo.IMPOSSIBLE, backoff=0.02)
async def settle(session: WriteSession, call: StepCall[Booking]) -> None:
    pass_(call, "settle begin")
    assert call.result(book).startswith("order ")
    await move(session, call, 0, -1)
    passes_after_commit(session, call, "settle commit")
    pass_(call, "settle end")


def note(folder: Path, key: str, line: str) -> None:
    with (folder / "delivered").open("a") as file:
        file.write(f"{key} {line}\n")
    # The relay of the test that kills it dies between a delivery and its record.
    order = folder / "die relay"
    if int(line) % 7 == 3 and order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


async def write_down(message: Message) -> None:
    """Append the message to the file that it names."""
    folder, line = message.payload
    note(Path(folder), message.key, line)


lines = Topic("tests.lines", calling(write_down))
