"""PostgreSQL: settings, engine, sessions, models, optimistic locking, bulk loads, raw SQL."""

from .bulk import Upserted, copy_in, upsert
from .engine import create_engine
from .errors import (
    DatabaseUnreachable,
    LimitExceeded,
    LockTimeout,
    PoolExhausted,
    RowRejected,
    StatementTimeout,
    TransactionAborted,
    TransactionConflict,
    UnknownColumn,
    Violation,
    sqlstate,
)
from .locking import NotFound, StaleVersion, expecting
from .models import NAMING_CONVENTION, Base, BigIntKey, Timestamps, UuidKey, Versioned
from .session import Database, ReadSession, WriteSession
from .settings import DatabaseSettings
from .sql import NoSingleRow, RowMismatch, fetch_all, fetch_one, statement, stream

__all__ = [
    "NAMING_CONVENTION",
    "Base",
    "BigIntKey",
    "Database",
    "DatabaseSettings",
    "DatabaseUnreachable",
    "LimitExceeded",
    "LockTimeout",
    "NoSingleRow",
    "NotFound",
    "PoolExhausted",
    "ReadSession",
    "RowMismatch",
    "RowRejected",
    "StaleVersion",
    "StatementTimeout",
    "Timestamps",
    "TransactionAborted",
    "TransactionConflict",
    "UnknownColumn",
    "Upserted",
    "UuidKey",
    "Versioned",
    "Violation",
    "WriteSession",
    "copy_in",
    "create_engine",
    "expecting",
    "fetch_all",
    "fetch_one",
    "sqlstate",
    "statement",
    "stream",
    "upsert",
]
