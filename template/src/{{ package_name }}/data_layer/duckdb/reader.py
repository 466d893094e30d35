"""Reading PostgreSQL through DuckDB: several connections, one snapshot."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import duckdb
from sqlalchemy import URL

from .columns import Plan
from .connection import limited
from .errors import DuckDBError
from .extension import first_line, identifier, literal, load
from .lake import LakeFile
from .period import Period
from .settings import DuckDBSettings

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (moments here are UTC without saying so)
_MICROSECOND = timedelta(microseconds=1)
_PROGRAM = __name__.partition(".")[0].replace("_", "-")

Place: TypeAlias = "Future[duckdb.DuckDBPyConnection]"

# The years of a file's name have four digits, also those of a week's first and last day.
YEARS = (1001, 9999)

# An export takes as long as it takes, and ends with its process.
_UNHURRIED = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"


class Reader:
    """A plan's rows as of one moment; made by `reading`.

    Moments are datetimes of UTC without a zone, whatever the type of the time column.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, plan: Plan, settings: DuckDBSettings
    ) -> None:
        self.connection = connection
        self._plan = plan
        self._settings = settings
        self._snapshot: str | None = None
        self._opened = [connection]
        # Of the server, one for each connection.
        self._backends: list[int] = []
        # Connections that no thread uses now, and who waits for one; never both.
        self._idle = [connection]
        self._waiting: deque[Place] = deque()
        self._lock = Lock()

    def begin(self) -> None:
        """Begin the transaction that all of the reader sees."""
        self.connection.execute("BEGIN")
        _order(self.connection, _UNHURRIED)
        self._backends.append(_backend(self.connection))

    def share(self, connections: int) -> None:
        """Let that many threads read at once, all of them the same snapshot."""
        if connections > 1:
            row = self.connection.execute(_ask("SELECT pg_export_snapshot()")).fetchone()
            self._snapshot = row[0] if row else None
        # At once, since a statement that fails on the first connection ends the snapshot.
        for _ in range(connections - 1):
            opened = self.connection.cursor()
            self._opened.append(opened)
            opened.execute("BEGIN")
            _order(opened, f"SET TRANSACTION SNAPSHOT {literal(self._snapshot or '')}")
            _order(opened, _UNHURRIED)
            self._backends.append(_backend(opened))
            self._idle.append(opened)

    def reserve(self) -> Place:
        """A connection for one thread alone, once one is idle; who asks first gets it first."""
        place: Place = Future()
        with self._lock:
            if self._idle:
                place.set_result(self._idle.pop())
            else:
                self._waiting.append(place)
        return place

    def give_back(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let another thread have it; after a failed statement it fails there too."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(connection)
            else:
                self._idle.append(connection)

    def interrupt(self) -> None:
        """Stop what runs; it raises."""
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
        """End the transactions; those of a server that is gone too."""
        for connection in self._opened:
            # Left to `close`, the reader of a lost connection ends the whole process.
            with suppress(duckdb.Error):
                connection.execute("ROLLBACK")

    def unplaced(self) -> bool:
        """Whether a row belongs into no file: without a time, or with one outside of `YEARS`."""
        time, kind = identifier(self._plan.time), self._plan.time_type
        first, last = (moment_literal(kind, datetime(year, 1, 1)) for year in YEARS)  # noqa: DTZ001
        return bool(
            self._number(
                f"SELECT count(*) FROM (SELECT FROM ({self._plan.base}) AS exported"  # noqa: S608
                f" WHERE {time} IS NULL OR {time} < {first} OR {time} >= {last} LIMIT 1) AS found"
            )
        )

    def periods(self, period: Period, since: datetime | None, until: datetime | None) -> list[date]:
        """The first days of the periods with rows from `since` up to, not including, `until`."""
        time, kind = identifier(self._plan.time), self._plan.time_type
        # A name that no table of the statement will have.
        found = '"periods found"'
        zone = " AT TIME ZONE 'UTC'" if kind == "timestamptz" else ""
        begin = f"SELECT date_trunc('{period}', CAST(min({time}){zone} AS timestamp))"
        after = f"CAST(({found}.begin + interval '1 {period}'){zone} AS {kind})"
        # From one period that has rows to the next one, each found by the index.
        rows = self.connection.execute(
            _ask(
                f"WITH RECURSIVE {found}(begin) AS ({begin}{self._from(since, until)} UNION ALL"  # noqa: S608
                f" SELECT ({begin}{self._from(after, until)}) FROM {found} WHERE begin IS NOT NULL)"
                f" SELECT CAST(begin AS date) FROM {found} WHERE begin IS NOT NULL"
            )
        )
        return [row[0] for row in rows.fetchall()]

    def count(self, since: datetime | None, until: datetime | None) -> int:
        """The number of rows from `since` up to, not including, `until`."""
        return self._number(f"SELECT count(*){self._from(since, until)}") or 0

    def schema(self) -> list[tuple[str, str]]:
        """The names and the types of DuckDB that the rows will have."""
        found = self.connection.execute(f"DESCRIBE {self._select(None, None, ())}")
        return [(row[0], row[1]) for row in found.fetchall()]

    def write(
        self,
        connection: duckdb.DuckDBPyConnection,
        target: Path,
        since: datetime,
        until: datetime,
        order_by: tuple[str, ...],
        kept: tuple[Path, datetime] | None,
        about: dict[str, str],
    ) -> int:
        """Write the rows of a range into a file and return how many it holds.

        Args:
            connection: what `reserve` gave.
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
        copy = (
            f"COPY ({rows}) TO {literal(str(target))} (FORMAT parquet, COMPRESSION zstd,"
            f" ROW_GROUP_SIZE {self._settings.row_group_size}, USE_TMP_FILE false,"
            f" KV_METADATA {{{facts}}})"
        )
        row = connection.execute(copy).fetchone()
        return int(row[0]) if row else 0

    def has_all(self, files: Sequence[LakeFile], since: datetime, until: datetime | None) -> bool:
        """Whether the files hold as many rows from `since` on as PostgreSQL does."""
        time, total = identifier(self._plan.time), 0
        for file in files:
            if midnight(file.end) > since:
                row = self.connection.execute(
                    f"SELECT count(*) FROM read_parquet({literal(str(file.path))})"  # noqa: S608
                    f" WHERE {time} >= {moment_literal(self._plan.time_type, since)}"
                ).fetchone()
                total += row[0] if row else 0
        return total == self.count(since, until)

    def latest_in(self, file: Path) -> datetime | None:
        """The latest time in a file."""
        return latest_in(self.connection, self._plan.time, file)

    def _select(
        self, since: datetime | None, until: datetime | None, order_by: tuple[str, ...]
    ) -> str:
        sorting = f" ORDER BY {_listed(order_by)}" if order_by else ""
        asked = _ask(f"SELECT {self._plan.selected}{self._from(since, until)}{sorting}")
        replaced = f" REPLACE ({self._plan.replaced})" if self._plan.replaced else ""
        return asked.replace("*", f"*{replaced}", 1)

    def _from(self, since: datetime | str | None, until: datetime | None) -> str:
        """The rows between two moments; the first may be an expression of PostgreSQL."""
        bounds = [
            f"{identifier(self._plan.time)} {sign} "
            + (bound if isinstance(bound, str) else moment_literal(self._plan.time_type, bound))
            for sign, bound in ((">=", since), ("<", until))
            if bound is not None
        ]
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        return f" FROM ({self._plan.base}) AS exported{where}"

    def _number(self, statement: str) -> int | None:
        row = self.connection.execute(_ask(statement)).fetchone()
        return None if row is None or row[0] is None else int(row[0])


@contextmanager
def reading(plan: Plan, url: URL, settings: DuckDBSettings) -> Iterator[Reader]:
    """A reader in a READ ONLY, REPEATABLE READ transaction of PostgreSQL.

    Raises:
        DuckDBError: the extension can't be loaded, or the server not reached.
    """
    # Each thread that reads does its own work; threads of DuckDB would only take turns with them.
    with limited(settings.model_copy(update={"threads": 1})) as connection:
        load(connection, settings)
        # What DuckDB says of a failed connection names its string: a secret stays out of it.
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
            f"DuckDB can't reach {url.host}:{url.port or 5432}/{url.database} ({reason}); "
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
    """What libpq shall know beside the secret."""
    options = {"application_name": f"{_PROGRAM}-duckdb", "connect_timeout": "10"}
    given = {name: str(value) for name, value in url.query.items() if name not in {"host", "port"}}
    return " ".join(
        f"{name}='{value.translate(_ESCAPED)}'" for name, value in (options | given).items()
    )


_ESCAPED = str.maketrans({"'": r"\'", "\\": r"\\"})


def _order(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    connection.execute(f"CALL postgres_execute('source', {literal(statement)})")


def _backend(connection: duckdb.DuckDBPyConnection) -> int:
    [pid] = connection.execute(_ask("SELECT pg_backend_pid()")).fetchall()[0]
    return int(pid)


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
