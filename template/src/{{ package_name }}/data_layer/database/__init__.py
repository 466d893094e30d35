"""PostgreSQL: settings, engine, sessions, models, optimistic locking."""

from .engine import create_engine
from .locking import NotFound, StaleVersion, expecting
from .models import NAMING_CONVENTION, Base, BigIntKey, Timestamps, UuidKey, Versioned
from .session import (
    Database,
    DatabaseUnreachable,
    LockTimeout,
    PoolExhausted,
    ReadSession,
    StatementTimeout,
    TransactionConflict,
    WriteSession,
    sqlstate,
)
from .settings import DatabaseSettings

__all__ = [
    "NAMING_CONVENTION",
    "Base",
    "BigIntKey",
    "Database",
    "DatabaseSettings",
    "DatabaseUnreachable",
    "LockTimeout",
    "NotFound",
    "PoolExhausted",
    "ReadSession",
    "StaleVersion",
    "StatementTimeout",
    "Timestamps",
    "TransactionConflict",
    "UuidKey",
    "Versioned",
    "WriteSession",
    "create_engine",
    "expecting",
    "sqlstate",
]
