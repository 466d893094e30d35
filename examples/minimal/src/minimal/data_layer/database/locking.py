"""Optimistic locking: an update states the version it expects, and a conflict is an error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import inspect
from sqlalchemy.orm.exc import StaleDataError

from ..errors import DataLayerError
from .models import Versioned
from .session import WriteSession

Entity = TypeVar("Entity", bound=Versioned)


class NotFound(DataLayerError):
    """There is no row with this key.

    Attributes:
        entity: the name of the model.
        key: the primary key that was asked for.
    """

    def __init__(self, entity: str, key: Any) -> None:
        super().__init__(f"There is no {entity} with the key {key}; it may have been deleted.")
        self.entity = entity
        self.key = key


class StaleVersion(DataLayerError):
    """The row has another version than the update expected, or is gone; over HTTP this is 409.

    Attributes:
        entity: the name of the model.
        key: the primary key of the row.
        expected: the version that the update stated.
        current: the version of the row now; None when the row is gone.
    """

    def __init__(self, entity: str, key: Any, *, expected: int, current: int | None) -> None:
        now = "is gone" if current is None else f"has version {current} by now"
        super().__init__(
            f"{entity} {key} {now}, not the expected version {expected}; read it again and repeat "
            "the change."
        )
        self.entity = entity
        self.key = key
        self.expected = expected
        self.current = current


@asynccontextmanager
async def expecting(
    session: WriteSession, entity: type[Entity], key: Any, version: int
) -> AsyncIterator[Entity]:
    """Change or delete the row of `entity` with the primary key `key`, if it has `version`.

    The change is written when the block ends, still within the transaction of the session. No
    lock is held meanwhile. If another transaction was faster, only the writes of the block are
    undone, so the transaction stays usable. Serves DL-TX-04.

    Args:
        session: the session of the transaction.
        entity: a model with the column of `Versioned`.
        key: the primary key; a tuple when it has several columns.
        version: the version that the caller has read.

    Raises:
        NotFound: the row never existed, or was deleted before.
        StaleVersion: the row has another version, or was deleted meanwhile.
    """
    name = entity.__name__
    if inspect(entity).version_id_col is None:
        raise TypeError(
            f'{name} checks no version: add "version_id_col": version to its __mapper_args__.'
        )
    row = await session.get(entity, key)
    if row is None:
        raise NotFound(name, key)
    if row.version != version:
        raise StaleVersion(name, key, expected=version, current=row.version)
    try:
        # Without a savepoint the failed flush would end the whole transaction, and with it the
        # chance to read the current version.
        async with session.begin_nested():
            yield row
            await session.flush()
    except StaleDataError as error:
        now = await session.get(entity, key, populate_existing=True)
        current = None if now is None else now.version
        if current == version:
            # Another row that the block changed was stale, not this one.
            raise
        raise StaleVersion(name, key, expected=version, current=current) from error
