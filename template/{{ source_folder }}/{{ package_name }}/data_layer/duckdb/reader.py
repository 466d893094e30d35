"""Read PostgreSQL through DuckDB: several connections, one snapshot."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
from sqlalchemy import URL

from ..database.settings import address_of
from ..project import PROGRAM
from .columns import Plan
from .connection import limited
from .declarations import Period
from .errors import DuckDBError
from .extension import load
from .settings import DuckDBSettings
from .sql import first_line, identifier, literal, parquet

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (moments here are UTC without saying so)
_MICROSECOND = timedelta(microseconds=1)

# File names have four digits for a year, and a week may reach into the year before or after.
YEARS = (1001, 9999)

# No timeouts: an export may take hours, and its transactions end with its process.
_SESSION = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
    " SET LOCAL TimeZone = 'UTC'"
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of one file.

    Attributes:
        target: the file.
        since: the first moment.
        until: the first moment after it.
        old: the existing file of this period.
        cut: rows before this moment are copied from `old`, the others read from PostgreSQL.
    """

    target: Path
    since: datetime
    until: datetime
    old: Path | None = None
    cut: datetime | None = None


class Reader:
    """The rows of a plan as of one moment; made by `reading`.

    Moments are naive datetimes in UTC, whatever the type of the time column.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, plan: Plan, settings: DuckDBSettings
    ) -> None:
        self.connection = connection
        self._plan = plan
        self._settings = settings
        self._opened: list[duckdb.DuckDBPyConnection] = []
        # The server's process for each connection.
        self._backends: list[int] = []

    def begin(self) -> None:
        """Begin the transaction whose snapshot every connection reads."""
        self._begin(self.connection)

    def share(self, connections: int) -> list[duckdb.DuckDBPyConnection]:
        """Open connections to the same snapshot; returns that many, the first one included."""
        if connections > 1:
            [snapshot] = self.connection.execute(_ask("SELECT pg_export_snapshot()")).fetchall()[0]
            # Open all now, since a statement that fails on the first connection ends the snapshot.
            for _ in range(connections - 1):
                self._begin(self.connection.cursor(), snapshot)
        return list(self._opened)

    def _begin(self, connection: duckdb.DuckDBPyConnection, snapshot: str = "") -> None:
        self._opened.append(connection)
        connection.execute("BEGIN")
        if snapshot:
            _order(connection, f"SET TRANSACTION SNAPSHOT {literal(snapshot)}")
        _order(connection, _SESSION)
        [pid] = connection.execute(_ask("SELECT pg_backend_pid()")).fetchall()[0]
        self._backends.append(int(pid))

    def interrupt(self) -> None:
        """Stop the statements that run; each raises in its thread."""
        for connection in list(self._opened):
            with suppress(duckdb.Error):
                connection.interrupt()
        # DuckDB itself notices no interrupt while it waits for rows of the server.
        backends = ", ".join(map(str, self._backends))
        with suppress(duckdb.Error), self.connection.cursor() as other:
            other.execute(
                _ask(f"SELECT pg_cancel_backend(pid) FROM unnest(ARRAY[{backends}]) AS pid")  # noqa: S608
            )

    def end(self) -> None:
        """End the transactions, also those of a server that is gone."""
        for connection in self._opened:
            # DuckDB's `close` ends the whole process if an open transaction has lost its server.
            with suppress(duckdb.Error):
                connection.execute("ROLLBACK")

    def unplaced(self) -> bool:
        """Whether a row has no time, or one outside of `YEARS`, so that no file can hold it."""
        time = identifier(self._plan.time)
        first, last = (self._moment(datetime(year, 1, 1)) for year in YEARS)  # noqa: DTZ001
        return bool(
            self._number(
                f"SELECT count(*) FROM (SELECT FROM ({self._plan.base}) AS exported"  # noqa: S608
                f" WHERE {time} IS NULL OR {time} < {first} OR {time} >= {last} LIMIT 1) AS found"
            )
        )

    def lost(self, connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime) -> str:
        """Which value of the rows from `since` up to `until` the export would change; "" if none.

        The connection is one of `share`, which no other thread uses meanwhile.
        """
        losses = self._plan.losses
        if not losses:
            return ""
        cases = " ".join(f"WHEN {losses[i][0]} THEN {i}" for i in range(len(losses)))
        either = " OR ".join(condition for condition, _ in losses)
        found = connection.execute(
            _ask(
                f"SELECT CASE {cases} END FROM (SELECT * {self._from(since, until)}) AS placed"  # noqa: S608
                f" WHERE {either} LIMIT 1"
            )
        ).fetchall()
        return losses[found[0][0]][1] if found else ""

    def periods(self, period: Period, since: datetime | None, until: datetime | None) -> list[date]:
        """The first days of the periods with rows from `since` up to, not including, `until`."""
        time, kind = identifier(self._plan.time), self._plan.time_type
        # A name that no table of the statement will have.
        found = '"periods found"'
        zone = " AT TIME ZONE 'UTC'" if kind == "timestamptz" else ""
        begin = f"SELECT date_trunc('{period}', CAST(min({time}){zone} AS timestamp))"
        after = f"CAST(({found}.begin + interval '1 {period}'){zone} AS {kind})"
        # Go from one period that has rows to the next; the index finds each of them.
        rows = self.connection.execute(
            _ask(
                f"WITH RECURSIVE {found}(begin) AS ({begin}{self._from(since, until)} UNION ALL"  # noqa: S608
                f" SELECT ({begin}{self._from(after, until)}) FROM {found} WHERE begin IS NOT NULL)"
                f" SELECT CAST(begin AS date) FROM {found} WHERE begin IS NOT NULL"
            )
        )
        return [row[0] for row in rows.fetchall()]

    def oldest(self) -> datetime | None:
        """The earliest time in PostgreSQL that a file can hold."""
        time = identifier(self._plan.time)
        zone = " AT TIME ZONE 'UTC'" if self._plan.time_type == "timestamptz" else ""
        since, until = (datetime(year, 1, 1) for year in YEARS)  # noqa: DTZ001
        statement = f"SELECT CAST(min({time}){zone} AS timestamp){self._from(since, until)}"
        found: datetime | None = self.connection.execute(_ask(statement)).fetchall()[0][0]
        return found

    def count(self, since: datetime | None, until: datetime | None) -> int:
        """The rows of PostgreSQL from `since` up to, not including, `until`."""
        return self._number(f"SELECT count(*){self._from(since, until)}") or 0

    def stored(
        self, files: Iterable[Path], since: datetime | None = None, until: datetime | None = None
    ) -> int:
        """The rows of files from `since` up to, not including, `until`; any thread may ask."""
        statement = f"SELECT count(*) FROM {parquet(files)}{self._where(since, until)}"  # noqa: S608
        with self.connection.cursor() as cursor:
            return int(cursor.execute(statement).fetchall()[0][0])

    def latest_in(self, file: Path) -> datetime | None:
        """The latest time in a file; None when it has no row."""
        [row] = self.connection.execute(
            f"SELECT epoch_us(CAST(max({identifier(self._plan.time)}) AS TIMESTAMP))"  # noqa: S608
            f" FROM {parquet([file])}"
        ).fetchall()
        return None if row[0] is None else _EPOCH + row[0] * _MICROSECOND

    def write(self, connection: duckdb.DuckDBPyConnection, target: Path, stretch: Stretch) -> int:
        """Write the rows of a stretch into `target` and return how many it then holds.

        The connection is one of `share`, which no other thread uses meanwhile.
        """
        time, order_by = self._plan.time, self._plan.order_by
        rows = self._select(stretch.cut or stretch.since, stretch.until)
        if stretch.old is not None and stretch.cut is not None:
            # Both parts are sorted. One after the other, they stay so if the time comes first.
            sorting = "" if order_by[0] == time else f" ORDER BY {_listed(order_by)}"
            rows = (
                f"SELECT * FROM (FROM {parquet([stretch.old])}"  # noqa: S608
                f"{self._where(None, stretch.cut)} UNION ALL BY NAME FROM ({rows})){sorting}"
            )
        copy = (
            f"COPY ({rows}) TO {literal(str(target))} (FORMAT parquet, COMPRESSION zstd,"
            f" ROW_GROUP_SIZE {self._settings.row_group_size}, USE_TMP_FILE false)"
        )
        return int(connection.execute(copy).fetchall()[0][0])

    def _select(self, since: datetime, until: datetime) -> str:
        sorting = f" ORDER BY {_listed(self._plan.order_by)}"
        asked = _ask(f"SELECT {self._plan.selected}{self._from(since, until)}{sorting}")
        replaced = f" REPLACE ({self._plan.replaced})" if self._plan.replaced else ""
        return asked.replace("*", f"*{replaced}", 1)

    def _from(self, since: datetime | str | None, until: datetime | None) -> str:
        return f" FROM ({self._plan.base}) AS exported{self._where(since, until)}"

    def _where(self, since: datetime | str | None, until: datetime | None) -> str:
        """The WHERE clause between two moments; the first may be an expression of PostgreSQL."""
        bounds = [
            f"{identifier(self._plan.time)} {sign} "
            + (bound if isinstance(bound, str) else self._moment(bound))
            for sign, bound in ((">=", since), ("<", until))
            if bound is not None
        ]
        return f" WHERE {' AND '.join(bounds)}" if bounds else ""

    def _moment(self, moment: datetime) -> str:
        """A moment for the time column, as PostgreSQL and DuckDB write it alike."""
        kind = self._plan.time_type
        if kind == "date":
            # A date stands for its midnight, so "from noon on" is "from the next day on".
            day = moment.date() + timedelta(days=moment != midnight(moment.date()))
            return f"DATE '{day.isoformat()}'"
        zone = "+00" if kind == "timestamptz" else ""
        return f"CAST('{moment.isoformat(sep=' ')}{zone}' AS {kind})"

    def _number(self, statement: str) -> int | None:
        found: int | None = self.connection.execute(_ask(statement)).fetchall()[0][0]
        return found


@contextmanager
def reading(plan: Plan, url: URL, settings: DuckDBSettings) -> Iterator[Reader]:
    """A reader in a READ ONLY, REPEATABLE READ transaction of PostgreSQL.

    Raises:
        DuckDBError: the extension can't be loaded, or the server not reached.
    """
    # The export's own threads do the work; threads of DuckDB would only take turns with them.
    with limited(settings.model_copy(update={"threads": 1})) as connection:
        load(connection, settings)
        # DuckDB's error of a failed connection quotes the connection string, so that string must
        # not hold the password.
        connection.execute(f"CREATE SECRET source (TYPE postgres, {_secret(url)})")
        reader = Reader(connection, plan, settings)
        try:
            _attach(reader, url)
            yield reader
        finally:
            reader.end()


def _attach(reader: Reader, url: URL) -> None:
    try:
        reader.connection.execute(
            f"ATTACH {literal(_options(url))} AS source (TYPE postgres, SECRET source, READ_ONLY)"
        )
        reader.begin()
    except duckdb.Error as error:
        reason = first_line(error).rpartition("failed: ")[2]
        raise DuckDBError(
            f"DuckDB can't reach {address_of(url)} ({reason}); "
            "correct DATABASE_URL and DATABASE_PASSWORD."
        ) from None


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
    """The options of libpq that are not in the secret."""
    options = {
        "application_name": f"{PROGRAM}-duckdb",
        "connect_timeout": "10",
        # DuckDB reads all text as UTF-8, whatever the database's encoding is.
        "client_encoding": "UTF8",
    }
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
