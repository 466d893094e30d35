"""A little application of the tests' own, so that they need no worked example."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import APIRouter, FastAPI, Response
from httpx2 import ASGITransport, AsyncClient
from pydantic import BaseModel
from sqlalchemy import CheckConstraint, MetaData
from sqlalchemy.orm import Mapped

from my_project.data_layer.database import (
    NAMING_CONVENTION,
    Base,
    BigIntKey,
    Database,
    DatabaseSettings,
    Versioned,
    expecting,
)
from my_project.data_layer.http import (
    Conflict,
    DatabaseDependency,
    ExpectedVersion,
    create_api,
    documented,
    set_etag,
)


class OwnBase(Base):
    """Tables that belong to these tests alone."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Note(BigIntKey, Versioned, OwnBase):
    """An entity with a version."""

    __tablename__ = "http_test_notes"
    __table_args__ = (CheckConstraint("length(text) < 100", name="short"),)

    text: Mapped[str]


class NoteText(BaseModel):
    """The body of a change."""

    text: str


class Refused(Exception):
    """An error of the domain whose message is meant for the client."""


router = APIRouter()


@router.get("/notes/{key}")
async def read_note(key: int, database: DatabaseDependency, response: Response) -> NoteText:
    async with database.read_only() as session:
        note = await session.get_one(Note, key)
    set_etag(response, note.version)
    return NoteText(text=note.text)


@router.put("/notes/{key}", responses=documented(Conflict))
async def write_note(
    key: int,
    body: NoteText,
    version: ExpectedVersion,
    database: DatabaseDependency,
    response: Response,
) -> NoteText:
    async with (
        database.transaction() as session,
        expecting(session, Note, key, version) as note,
    ):
        note.text = body.text
    set_etag(response, note.version)
    return NoteText(text=note.text)


@asynccontextmanager
async def served(app: FastAPI, *, raise_errors: bool = True) -> AsyncIterator[AsyncClient]:
    """A client of the running `app`; `raise_errors` as a server sees what reaches it."""
    transport = ASGITransport(app, raise_app_exceptions=raise_errors)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@pytest.fixture
def app(database_settings: DatabaseSettings) -> FastAPI:
    app = create_api("test", settings=database_settings, refusals={Refused: 409})
    app.include_router(router)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with served(app) as client:
        yield client


@pytest.fixture
async def note(database: Database) -> AsyncIterator[Note]:
    """A stored note of version 1."""
    async with database.engine.begin() as connection:
        await connection.run_sync(OwnBase.metadata.create_all)
    async with database.transaction() as session:
        note = Note(text="first")
        session.add(note)
    yield note
    async with database.engine.begin() as connection:
        await connection.run_sync(OwnBase.metadata.drop_all)
