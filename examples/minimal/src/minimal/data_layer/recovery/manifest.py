"""An exact manifest of a database under load: what a restore to one point must bring back.

It needs two connections. The first locks writers out of every table for some milliseconds; in this
time the second takes its snapshot, and the server writes a restore point. Then the second counts
and sums the rows without a lock against writers.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql
from psycopg.errors import LockNotAvailable
from sqlalchemy import URL

from .errors import RecoveryError
from .progress import progress
from .server import Server, connected, describe

ATTEMPTS = 5

# The application's tables: none of the system or an extension; a partitioned table as a whole.
_TABLES = """
    SELECT n.nspname::text, c.relname::text
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
       AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (
             SELECT FROM pg_depend d
              WHERE d.deptype = 'e'
                AND (d.classid, d.objid) IN (
                      ('pg_class'::regclass, c.oid), ('pg_namespace'::regclass, n.oid)))
       AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
     ORDER BY 1, 2
"""

# The text of a row depends on these settings.
_SPELLING = """
    SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601';
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET row_security = off;
    SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0
"""


@dataclass(frozen=True, slots=True)
class Sum:
    """How many rows a table has, and the sum of their hashes, whatever the order of the rows."""

    rows: int
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The database at one restore point.

    Attributes:
        point: the name of the restore point; `lsn` is its position in the WAL.
        held: seconds for which writers were locked out.
        revision: Alembic's revision; None where there is none.
        tables: the sums, by `schema.table`.
    """

    point: str
    lsn: str
    taken: datetime
    held: float
    revision: str | None
    server: Server
    tables: Mapping[str, Sum]


def take(url: URL, point: str) -> Manifest:
    """Write the restore point `point`, and say what the database holds there.

    Raises:
        RecoveryError: the role lacks the right, or others lock the tables for too long.
    """
    with connected(url) as lock, connected(url) as reader:
        reader.execute(_SPELLING)
        tables = _tables(lock)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                position, held = _point(lock, reader, point, tables)
                break
            except LockNotAvailable:
                reader.execute("ROLLBACK")
                if attempt == ATTEMPTS:
                    raise RecoveryError(
                        "The tables can't be locked for a moment: a long transaction holds one; "
                        "try again when it has ended."
                    ) from None
            except psycopg.Error as error:
                raise RecoveryError(
                    f"No restore point can be written: {error.diag.message_primary}; the role of "
                    "BACKUP_URL needs what docs/data-layer/recovery.md grants it."
                ) from None
        taken = datetime.now(UTC)
        with progress("Summing the tables"):
            sums = sums_of(reader, tables)
        return Manifest(
            point=point,
            lsn=position,
            taken=taken,
            held=held,
            revision=revision_of(reader),
            server=describe(reader),
            tables=sums,
        )


def _point(
    lock: psycopg.Connection,
    reader: psycopg.Connection,
    point: str,
    tables: list[tuple[str, str]],
) -> tuple[str, float]:
    with lock.transaction():
        lock.execute("SET LOCAL lock_timeout = '2s'")
        begun = time.monotonic()
        if tables:
            names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
            lock.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(names))
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        reader.execute("SELECT 1")  # the snapshot
        row = lock.execute("SELECT pg_create_restore_point(%s)::text", (point,)).fetchone()
    assert row is not None  # noqa: S101 (a function of one row)
    return str(row[0]), time.monotonic() - begun


def _tables(connection: psycopg.Connection) -> list[tuple[str, str]]:
    return [(schema, table) for schema, table in connection.execute(_TABLES).fetchall()]


def sums_at(connection: psycopg.Connection) -> Mapping[str, Sum]:
    """The sums of every table that is there now."""
    connection.execute(_SPELLING)
    return sums_of(connection, _tables(connection))


def sums_of(connection: psycopg.Connection, tables: list[tuple[str, str]]) -> Mapping[str, Sum]:
    """The sums of these tables.

    Raises:
        RecoveryError: a table can't be read, for example because one of its pages is broken.
    """
    found = {}
    for schema, table in tables:
        statement = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text"
            " FROM {} AS t"
        ).format(sql.Identifier(schema, table))
        try:
            row = connection.execute(statement).fetchone()
        except psycopg.Error as error:
            raise RecoveryError(
                f"{schema}.{table} can't be read: {error.diag.message_primary or 'no reason'}."
            ) from None
        assert row is not None  # noqa: S101 (an aggregate without groups)
        found[f"{schema}.{table}"] = Sum(*row)
    return found


def revision_of(connection: psycopg.Connection) -> str | None:
    """Alembic's revision of that database; None if Alembic's table is missing or empty."""
    row = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
    if row is None or row[0] is None:
        return None
    found = connection.execute("SELECT version_num FROM alembic_version ORDER BY 1").fetchall()
    return ", ".join(version for (version,) in found) or None


def differences(wanted: Mapping[str, Sum], found: Mapping[str, Sum]) -> list[str]:
    """A sentence for each table that is not as the manifest has it."""
    said = []
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            said.append(f"{name} is missing.")
        elif name not in wanted:
            said.append(f"{name} should not be there.")
        elif wanted[name].rows != found[name].rows:
            said.append(f"{name} has {found[name].rows} rows instead of {wanted[name].rows}.")
        elif wanted[name] != found[name]:
            said.append(f"{name} has other rows than it had.")
    return said
