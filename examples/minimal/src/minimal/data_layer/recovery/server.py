"""What the running server says about itself, its WAL and its archive."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import URL

from .errors import RecoveryError

# A copy with a lower value of one of these can't replay what the server wrote.
NEVER_LESS = (
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)

_FACTS = """
    SELECT system.system_identifier,
           CASE WHEN pg_is_in_recovery() THEN checkpoint.timeline_id
                ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
           END AS timeline,
           current_setting('server_version_num')::int AS version,
           (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
           (SELECT rolname::text FROM pg_roles WHERE oid = 10) AS superuser,
           (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries')
             AS preloaded,
           (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')
             AS segment_size,
           current_setting('data_checksums') = 'on' AS checksums,
           (SELECT jsonb_object_agg(name, setting) FROM pg_settings
             WHERE name = ANY(%(never_less)s)) AS never_less,
           (SELECT coalesce(array_agg(name), '{}') FROM pg_settings
             WHERE name LIKE '%%.max_background_workers') AS workers,
           (SELECT jsonb_object_agg(extname, extversion) FROM pg_extension) AS extensions
      FROM pg_control_system() AS system, pg_control_checkpoint() AS checkpoint
"""

_ARCHIVING = """
    SELECT current_setting('wal_level') AS wal_level,
           current_setting('archive_mode') AS mode,
           last_archived_wal AS last, last_archived_time AS archived,
           stats_reset AS counting_since,
           last_failed_wal AS failed_wal, last_failed_time AS failed,
           now() AS now
      FROM pg_stat_archiver
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server's identity, and what a copy of it must have in common with it.

    Attributes:
        version: a number, as 180006.
        data_directory: None where the role may not see it.
        never_less: settings that must not be lower in a copy.
        workers: settings that let an extension run jobs; a copy must run none.
        segment_size: bytes of a segment of WAL.
        checksums: whether its pages have any.
    """

    system_identifier: int
    timeline: int
    version: int
    data_directory: str | None
    superuser: str
    preloaded: str | None
    segment_size: int
    checksums: bool
    never_less: Mapping[str, str]
    workers: list[str]
    extensions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Archiving:
    """The state of the server's archiver.

    Attributes:
        last: the file that was archived last; `archived` says when. A crash resets the server's
            statistics: then both are None until the next file.
        failed_wal: the file that was refused last; `failed` says when.
    """

    wal_level: str
    mode: str
    last: str | None
    archived: datetime | None
    counting_since: datetime
    failed_wal: str | None
    failed: datetime | None
    now: datetime

    @property
    def broken(self) -> bool:
        """Whether the last attempt failed."""
        return self.failed is not None and (self.archived is None or self.failed > self.archived)


@contextmanager
def connected(url: URL) -> Iterator[psycopg.Connection]:
    """A connection in which each statement is a transaction, unless the code begins one.

    Raises:
        RecoveryError: the connection can't be made, or it broke.
    """
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = psycopg.connect(
            text,
            autocommit=True,
            connect_timeout=10,
            application_name="backup",
            client_encoding="utf8",
        )
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[-1]
        raise RecoveryError(f"The server can't be reached: {reason}") from None
    with connection:
        try:
            yield connection
        except psycopg.OperationalError as error:
            if not connection.broken:
                raise
            raise RecoveryError("The server ended the connection.") from error


def describe(connection: psycopg.Connection) -> Server:
    """The identity and the settings of that server."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_FACTS, {"never_less": list(NEVER_LESS)}).fetchone()
    assert row is not None  # noqa: S101 (two functions of one row each)
    return Server(**row)


def archive_by(url: URL, command: str, **more: str) -> bool:
    """Let that server archive by `command`; returns whether it does so without a restart."""
    wanted = {"archive_mode": "on", "archive_command": command, "archive_timeout": "60s", **more}
    with connected(url) as connection:
        for name, value in wanted.items():
            statement = sql.SQL("ALTER SYSTEM SET {} = {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Literal(value)))
        connection.execute("SELECT pg_reload_conf()")
        return archiving(connection).mode != "off"


def archiving(connection: psycopg.Connection) -> Archiving:
    """The state of that server's archiver."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_ARCHIVING).fetchone()
    assert row is not None  # noqa: S101 (a view of one row)
    return Archiving(**row)
