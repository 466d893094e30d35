"""The errors that the data layer raises when the database can't or won't do what it was asked.

PostgreSQL quotes the row that breaks a rule (`DETAIL: Failing row contains (…)`), and so does the
driver. Errors of this module never quote it: their text may be logged and sent to a client.
"""

import re
from typing import Literal, TypeAlias

import psycopg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import DataLayerError


class PoolExhausted(DataLayerError):
    """Every connection of the pool was in use for the whole `DATABASE_POOL_TIMEOUT`."""


class DatabaseUnreachable(DataLayerError):
    """No connection could be made, or the one in use broke."""


class StatementTimeout(DataLayerError):
    """The server stopped a statement: it ran longer than allowed, or somebody cancelled it."""


class LockTimeout(DataLayerError):
    """A statement waited longer for a lock than allowed, or asked not to wait at all."""


class LimitExceeded(DataLayerError):
    """A statement would exceed a limit that is set on the server."""


class TransactionConflict(DataLayerError):
    """A serializable transaction collided with others on every one of its attempts."""


class TransactionAborted(DataLayerError):
    """A statement failed within the transaction, and the code caught its error there."""


Kind: TypeAlias = Literal["unique", "exclusion", "foreign key", "check", "not null", "value"]


class Violation(DataLayerError):
    """A row breaks a constraint, or a value does not fit its column; over HTTP 409 or 422.

    The statement raises it, or the flush or, for a deferred constraint, the commit. Nothing of
    the transaction is written, unless the statement stood in a savepoint.

    Attributes:
        kind: the kind of constraint that is broken; "value" when a value does not fit its type.
        table: the name of the table; None when the server does not say, as for a hypertable.
        constraint: the name of the constraint; None for "not null" and "value".
        column: the column that must not be null; None for every other kind.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Kind,
        table: str | None = None,
        constraint: str | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.table = table
        self.constraint = constraint
        self.column = column


class RowRejected(Violation):
    """A row of a bulk load does not fit its table; nothing of the load is written.

    Attributes:
        row: which row of the input, counted from 1; None when the server did not say.
    """

    def __init__(
        self, message: str, row: int | None = None, *, why: Violation | None = None
    ) -> None:
        super().__init__(
            message,
            kind=why.kind if why else "value",
            table=why.table if why else None,
            constraint=why.constraint if why else None,
            column=why.column if why else None,
        )
        self.row = row


class UnknownColumn(DataLayerError):
    """The caller named a column that the table does not have, or that can't be written."""


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of an error of SQLAlchemy or psycopg; None when there is none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def reason_of(error: BaseException) -> str:
    """Why a connection failed, as the driver says it, for the middle of a sentence."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    first_line = str(cause).strip().partition("\n")[0]
    return first_line.rpartition("failed: ")[2].rstrip(".") or type(cause).__name__


def lock_was_taken(error: BaseException) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return sqlstate(error) == "55P03"  # lock_not_available


_KINDS: dict[str, Kind] = {
    "23505": "unique",
    "23P01": "exclusion",
    "23503": "foreign key",
    "23001": "foreign key",  # ON DELETE RESTRICT
    "23514": "check",
    "44000": "check",  # of a view
    "23502": "not null",
}


# TimescaleDB names the chunk that the row is for, and the chunk's copy of the constraint.
_CHUNK = re.compile(r"(compress)?_hyper_\d+_\d+_chunk")
_OF_CHUNK = re.compile(r"^\d+_(\d+_)?")


def violation_of(error: BaseException) -> Violation | None:
    """The violation in a driver's error, without the row; None for an error of another kind.

    The driver's error stays the cause, so its own text is replaced by the same sentence.
    """
    state = sqlstate(error)
    diagnosis = error.diag if isinstance(error, psycopg.Error) else None
    table = diagnosis.table_name if diagnosis else None
    constraint = diagnosis.constraint_name if diagnosis else None
    if table and _CHUNK.fullmatch(table):
        table, constraint = None, constraint and _OF_CHUNK.sub("", constraint)
    column = None
    place = f" of {table}" if table else ""
    kind = _KINDS.get(state or "")
    match kind:
        case "unique":
            sentence = f"Another row{place} has these values already; {constraint} allows one."
        case "exclusion":
            sentence = f"The row conflicts with another one{place}, which {constraint} forbids."
        case "foreign key":
            sentence = f"{constraint}{place} refers to a row that is missing, or would be."
        case "check":
            rule = constraint or "a rule without a name"
            sentence = f"The row breaks {rule}{place}; correct its values."
        case "not null":
            column = diagnosis.column_name if diagnosis else None
            sentence = f"{column or 'A column'}{place} must have a value."
        case _ if _is_about_a_value(error, state):
            kind = "value"
            # The server's own message quotes the value; the name of its condition doesn't.
            condition = re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()
            known = f" ({condition})" if state else ""
            sentence = f"A value does not fit the type that it is for{known}; correct it."
        case _:
            return None
    error.args = (sentence,)
    error.__cause__, error.__suppress_context__ = None, True
    return Violation(sentence, kind=kind, table=table, constraint=constraint, column=column)


def _is_about_a_value(error: BaseException, state: str | None) -> bool:
    if state is not None:
        # A division by zero is a fault of the statement.
        return state.startswith("22") and state != "22012"
    # The error of the driver (a NUL in a text, a number beyond 64 bits), or of a column's type.
    return isinstance(
        error, (psycopg.DataError, ValueError, LookupError, ArithmeticError)
    ) and not isinstance(error, SQLAlchemyError)


def as_violation(context: ExceptionContext) -> Violation | None:
    """The handler of SQLAlchemy's event `handle_error`."""
    return violation_of(context.original_exception)
