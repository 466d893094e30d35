"""Reading PostgreSQL through DuckDB: several connections, one snapshot."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
from sqlalchemy import URL

from .columns import Plan
from .connection import limited
from .errors import AnalyticsError
from .extension import first_line, identifier, literal, load
from .lake import LakeFile
from .settings import AnalyticsSettings

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (moments here are UTC without saying so)
_MICROSECOND = timedelta(microseconds=1)
_PROGRAM = __name__.partition(".")[0].replace("_", "-")

# An export takes as long as it takes, and ends with its process.
_UNHURRIED = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"


class Reader:
    """A plan's rows as of one moment; made by `reading`.

    Moments are datetimes of UTC without a zone, whatever the type of the time column.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, plan: Plan, settings: AnalyticsSettings
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._settings = settings
        self._snapshot: str | None = None
        self._cursors: list[duckdb.DuckDBPyConnection] = [connection]
        self._own = threading.local()

    def share(self) -> None:
        """Let further threads read the same snapshot, each through a connection of its own."""
        self._own.cursor = self._connection
        row = self._connection.execute(_ask("SELECT pg_export_snapshot()")).fetchone()
        self._snapshot = row[0] if row else None

    def interrupt(self) -> None:
        """Stop what runs; it raises."""
        for cursor in list(self._cursors):
            with suppress(duckdb.Error):
                cursor.interrupt()

    def unplaced(self) -> bool:
        """Whether a row has no time, or an infinite one, and so belongs into no period."""
        time = identifier(self._plan.time)
        infinite = ", ".join(
            f"CAST('{sign}infinity' AS {self._plan.time_type})" for sign in ("", "-")
        )
        return bool(
            self._number(
                f"SELECT count(*) FROM (SELECT FROM ({self._plan.base}) AS exported"  # noqa: S608
                f" WHERE {time} IS NULL OR {time} IN ({infinite}) LIMIT 1) AS found"
            )
        )

    def earliest(self, since: datetime | None, until: datetime | None) -> datetime | None:
        """The earliest time from `since` up to, not including, `until`; None when there is none."""
        return self._moment("min", since, until)

    def latest(self, since: datetime | None, until: datetime | None) -> datetime | None:
        """The latest such time."""
        return self._moment("max", since, until)

    def count(self, since: datetime | None, until: datetime | None) -> int:
        """The number of such rows."""
        found = self._number(
            f"SELECT count(*) FROM ({self._plan.base}) AS exported{self._where(since, until)}"  # noqa: S608
        )
        return found or 0

    def schema(self) -> list[tuple[str, str]]:
        """The names and the types of DuckDB that the rows will have."""
        found = self._connection.execute(f"DESCRIBE {self._select(None, None, ())}")
        return [(row[0], row[1]) for row in found.fetchall()]

    def write(
        self,
        target: Path,
        since: datetime,
        until: datetime,
        order_by: tuple[str, ...],
        kept: tuple[Path, datetime] | None,
        about: dict[str, str],
    ) -> int:
        """Write the rows of a range into a file and return how many it holds.

        Args:
            target: is overwritten.
            since: the begin of the range.
            until: its end, not included.
            order_by: columns by which the rows are sorted.
            kept: a file, and the moment up to which its rows are taken over; those from then on
                come from PostgreSQL.
            about: goes into the file's own metadata.
        """
        if kept is None:
            rows = self._select(since, until, order_by)
        else:
            file, cut = kept
            # Both parts are sorted; behind one another they are too if the time comes first.
            sorting = "" if order_by[:1] == (self._plan.time,) else f" ORDER BY {_listed(order_by)}"
            older = moment_literal(self._plan.time_type, cut)
            rows = (
                f"SELECT * FROM (FROM read_parquet({literal(str(file))})"  # noqa: S608
                f" WHERE {identifier(self._plan.time)} < {older}"
                f" UNION ALL FROM ({self._select(cut, until, order_by)})){sorting}"
            )
        facts = ", ".join(f"{name}: {literal(value)}" for name, value in about.items())
        done = self._cursor().execute(
            f"COPY ({rows}) TO {literal(str(target))} (FORMAT parquet, COMPRESSION zstd,"
            f" ROW_GROUP_SIZE {self._settings.row_group_size}, USE_TMP_FILE false,"
            f" KV_METADATA {{{facts}}})"
        )
        row = done.fetchone()
        return int(row[0]) if row else 0

    def has_all(self, files: Sequence[LakeFile], since: datetime, until: datetime | None) -> bool:
        """Whether the files hold as many rows from `since` on as PostgreSQL does."""
        time, total = identifier(self._plan.time), 0
        for file in files:
            if midnight(file.end) > since:
                row = self._connection.execute(
                    f"SELECT count(*) FROM read_parquet({literal(str(file.path))})"  # noqa: S608
                    f" WHERE {time} >= {moment_literal(self._plan.time_type, since)}"
                ).fetchone()
                total += row[0] if row else 0
        return total == self.count(since, until)

    def latest_in(self, file: Path) -> datetime | None:
        """The latest time in a file."""
        return latest_in(self._connection, self._plan.time, file)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """The connection of this thread, within the snapshot."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._own, "cursor", None)
        if self._snapshot is None:
            return self._connection
        if cursor is None:
            cursor = self._connection.cursor()
            self._cursors.append(cursor)
            cursor.execute("BEGIN")
            _order(cursor, f"SET TRANSACTION SNAPSHOT {literal(self._snapshot)}")
            _order(cursor, _UNHURRIED)
            self._own.cursor = cursor
        return cursor

    def _select(
        self, since: datetime | None, until: datetime | None, order_by: tuple[str, ...]
    ) -> str:
        sorting = f" ORDER BY {_listed(order_by)}" if order_by else ""
        asked = _ask(
            f"SELECT {self._plan.selected} FROM ({self._plan.base}) AS exported"  # noqa: S608
            f"{self._where(since, until)}{sorting}"
        )
        replaced = f" REPLACE ({self._plan.replaced})" if self._plan.replaced else ""
        return asked.replace("*", f"*{replaced}", 1)

    def _where(self, since: datetime | None, until: datetime | None) -> str:
        time = identifier(self._plan.time)
        bounds = [
            f"{time} {sign} {moment_literal(self._plan.time_type, bound)}"
            for sign, bound in ((">=", since), ("<", until))
            if bound is not None
        ]
        return f" WHERE {' AND '.join(bounds)}" if bounds else ""

    def _moment(
        self, which: str, since: datetime | None, until: datetime | None
    ) -> datetime | None:
        found = self._number(
            f"SELECT (extract(epoch FROM {which}({identifier(self._plan.time)})) * 1000000)::bigint"  # noqa: S608
            f" FROM ({self._plan.base}) AS exported{self._where(since, until)}"
        )
        return None if found is None else _EPOCH + found * _MICROSECOND

    def _number(self, statement: str) -> int | None:
        row = self._connection.execute(_ask(statement)).fetchone()
        return None if row is None or row[0] is None else int(row[0])


@contextmanager
def reading(plan: Plan, url: URL, settings: AnalyticsSettings) -> Iterator[Reader]:
    """A reader in a READ ONLY, REPEATABLE READ transaction of PostgreSQL.

    Raises:
        AnalyticsError: the extension can't be loaded, or the server not reached.
    """
    with limited(settings) as connection:
        load(connection, settings)
        # What DuckDB says of a failed connection names its string: a secret stays out of it.
        connection.execute(f"CREATE SECRET source (TYPE postgres, {_secret(url)})")
        try:
            connection.execute(
                f"ATTACH {literal(_options(url))} AS source"
                " (TYPE postgres, SECRET source, READ_ONLY)"
            )
            connection.execute("BEGIN")
            _order(connection, _UNHURRIED)
        except duckdb.Error as error:
            reason = first_line(error).rpartition("failed: ")[2]
            raise AnalyticsError(
                f"DuckDB can't reach {url.host}:{url.port or 5432}/{url.database} ({reason}); "
                "correct DATABASE_URL and DATABASE_PASSWORD."
            ) from None
        yield Reader(connection, plan, settings)


def _secret(url: URL) -> str:
    parts = {
        "HOST": url.host or str(url.query.get("host", "")),
        "PORT": url.port or url.query.get("port"),
        "DATABASE": url.database,
        "USER": url.username,
        "PASSWORD": url.password,
    }
    return ", ".join(f"{name} {literal(str(value))}" for name, value in parts.items() if value)


def _options(url: URL) -> str:
    """What libpq shall know beside the secret."""
    options = {"application_name": f"{_PROGRAM}-analytics", "connect_timeout": "10"}
    given = {name: str(value) for name, value in url.query.items() if name not in {"host", "port"}}
    return " ".join(
        f"{name}='{value.translate(_ESCAPED)}'" for name, value in (options | given).items()
    )


_ESCAPED = str.maketrans({"'": r"\'", "\\": r"\\"})


def _order(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    connection.execute(f"CALL postgres_execute('source', {literal(statement)})")


def _ask(statement: str) -> str:
    return f"SELECT * FROM postgres_query('source', {literal(statement)})"  # noqa: S608


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(identifier, names))


def midnight(day: date) -> datetime:
    """The moment at which a day begins."""
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 (moments here are UTC)


def latest_in(connection: duckdb.DuckDBPyConnection, time: str, file: Path) -> datetime | None:
    """The latest time in a file, asked through a connection whose time zone is UTC."""
    row = connection.execute(
        f"SELECT epoch_us(CAST(max({identifier(time)}) AS TIMESTAMP))"  # noqa: S608
        f" FROM read_parquet({literal(str(file))})"
    ).fetchone()
    return None if row is None or row[0] is None else _EPOCH + row[0] * _MICROSECOND


def moment_literal(kind: str, moment: datetime) -> str:
    """A moment as PostgreSQL and DuckDB write it alike, for a column of that type."""
    if kind == "date":
        return f"DATE '{moment:%Y-%m-%d}'"
    zone = "+00" if kind == "timestamptz" else ""
    return f"CAST('{moment.isoformat(sep=' ')}{zone}' AS {kind})"
