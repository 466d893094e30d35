"""A part of the project as a person writes one: a route that starts a job, a saga and a message.

What `/errands/fragile` starts for a name fails for good until there is an errand "NAME is mended".
"""

import logging
import time
from functools import cache

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column
from taskiq import TaskiqDepends

from .data_layer.database import (
    Base,
    Database,
    DatabaseSettings,
    ReadSession,
    WriteSession,
    create_engine,
)
from .data_layer.http import DatabaseDependency
from .data_layer.redis.http import QueueDependency
from .data_layer.redis.queue import task
from .data_layer.sagas import Message, Saga, StepCall, Topic, Undo, calling, publish
from .data_layer.settings import load

router = APIRouter()
logger = logging.getLogger(__name__)


class Note(Base):
    """What was done for an errand; once, since the two are the key."""

    __tablename__ = "errand_notes"

    errand: Mapped[str] = mapped_column(primary_key=True)
    by: Mapped[str] = mapped_column(primary_key=True)


class Errand(BaseModel):
    name: str


@task("errands.job", attempts=20, backoff=1, schedule="* * * * *")
async def job(name: str = "of the schedule", *, database: Database = TaskiqDepends()) -> None:
    async with database.transaction() as session:
        await session.merge(Note(errand=name, by="job"))
    logger.info("The job is done.")


saga = Saga("errands.saga", Errand)


@saga.local(undo=Undo.NOTHING)
async def remember(session: WriteSession, call: StepCall[Errand]) -> None:
    session.add(Note(errand=call.arguments.name, by="saga"))


async def work(session: ReadSession, name: str) -> None:
    if await session.get(Note, (f"{name} is mended", "request")) is None:
        raise LookupError(f"Nobody has mended {name}.")


@task("errands.fragile-job", attempts=1)
async def fragile_job(name: str, *, database: Database = TaskiqDepends()) -> None:
    async with database.read_only() as session:
        await work(session, name)


@task("errands.hanging-job", attempts=1)
async def hanging_job() -> None:
    time.sleep(20)


fragile_saga = Saga("errands.fragile-saga", Errand)


@fragile_saga.local(undo=Undo.NOTHING)
async def try_it(session: WriteSession, call: StepCall[Errand]) -> None:
    await work(session, call.arguments.name)


@cache
def receiver() -> Database:
    """The other end's, which takes much longer to open than a message to deliver."""
    return Database(create_engine(load(DatabaseSettings)))


async def deliver(message: Message) -> None:
    async with receiver().transaction() as session:
        await session.merge(Note(errand=message.key, by="message"))
    logger.info("The message is delivered.")


topic = Topic("errands.messages", calling(deliver))


@router.post("/errands", status_code=202)
async def begin(errand: Errand, database: DatabaseDependency, queue: QueueDependency) -> None:
    async with database.transaction() as session:
        session.add(Note(errand=errand.name, by="request"))
        await saga.start(session, errand, key=errand.name)
        await publish(session, topic, key=errand.name, payload={})
    await queue.send(job, errand.name)


@router.post("/errands/fragile", status_code=202)
async def begin_fragile(
    errand: Errand, database: DatabaseDependency, queue: QueueDependency
) -> None:
    async with database.transaction() as session:
        await fragile_saga.start(session, errand, key=errand.name)
    await queue.send(fragile_job, errand.name)


@router.post("/errands/hanging", status_code=202)
async def begin_hanging(queue: QueueDependency) -> None:
    await queue.send(hanging_job)


class Alert(BaseModel):
    labels: dict[str, str]


class Told(BaseModel):
    alerts: list[Alert]


@router.post("/errands/told")
async def tell(told: Told, database: DatabaseDependency) -> None:
    """What Alertmanager has to say."""
    async with database.transaction() as session:
        for name in {one.labels["alertname"] for one in told.alerts}:
            await session.merge(Note(errand=f"alert {name}", by="Alertmanager"))


@router.get("/errands/{name}")
async def done(name: str, database: DatabaseDependency) -> list[str]:
    async with database.read_only() as session:
        found = await session.scalars(select(Note.by).where(Note.errand == name))
        return sorted(found)


def include_in(app: FastAPI) -> None:
    app.include_router(router)
