"""The test engine behaves as a server where tests rely on it."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.engines.timescaledb import timescaledb

pytestmark = pytest.mark.xdist_group("timescaledb")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with timescaledb() as url:
        yield url


def connect(url: str, name: str = "postgres") -> psycopg.Connection:
    return psycopg.connect(url.rpartition("/")[0] + f"/{name}", autocommit=True)


def test_it_has_the_community_edition(url: str) -> None:
    with connect(url) as connection:
        connection.execute("CREATE DATABASE edition")
    with connect(url, "edition") as connection:
        connection.execute("CREATE EXTENSION timescaledb")
        assert connection.execute("SHOW timescaledb.license").fetchone() == ("timescale",)


def test_it_wants_its_password(url: str) -> None:
    address = url.replace("//postgres:", "//postgres:not")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address)


def test_a_database_is_copied_and_dropped(url: str) -> None:
    with connect(url) as server:
        server.execute("CREATE DATABASE one")
        with connect(url, "one") as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS n")
        server.execute("ALTER DATABASE one IS_TEMPLATE true ALLOW_CONNECTIONS false")
        server.execute("CREATE DATABASE two TEMPLATE one")
        with connect(url, "two") as connection:
            assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]
        server.execute("DROP DATABASE two WITH (FORCE)")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            connect(url, "two")
        with pytest.raises(psycopg.errors.InvalidCatalogName):
            server.execute("ALTER DATABASE three IS_TEMPLATE false")


def test_rows_come_and_go_by_copy_and_transactions_roll_back(url: str) -> None:
    with connect(url) as connection:
        connection.execute("CREATE TABLE rows (n int8)")
        with connection.cursor() as cursor:
            with cursor.copy("COPY rows FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int8"])
                for number in range(10_000):
                    copy.write_row([number])
            with cursor.copy("COPY (SELECT n FROM rows ORDER BY n) TO STDOUT") as out:
                assert len(list(out.rows())) == 10_000
        with connection.transaction(force_rollback=True):
            connection.execute("DELETE FROM rows")
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (10_000,)


def test_sessions_keep_their_settings_apart(url: str) -> None:
    with connect(url) as one, connect(url) as two:
        one.execute("SET lock_timeout = '7s'")
        two.execute("SET lock_timeout = '9s'")
        assert one.execute("SHOW lock_timeout").fetchone() == ("7s",)
        assert two.execute("SHOW lock_timeout").fetchone() == ("9s",)


def test_a_second_transaction_waits_and_then_fails_as_for_a_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a test which needs two says so, and does not hang; it ends with its context."""
    monkeypatch.setenv("TX_WAIT_MS", "300")
    with timescaledb() as url, connect(url) as one, connect(url) as two, one.transaction():
        one.execute("SELECT 1")
        with pytest.raises(psycopg.errors.LockNotAvailable, match="waited 300 ms"):
            two.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connect(url)


def test_its_clock_goes_as_a_test_says(url: str) -> None:
    with connect(url) as connection:
        connection.execute("SET engine.seconds_ahead = 864000")
        later = connection.execute("SELECT now()").fetchone()
        connection.execute("SET engine.seconds_ahead = 0")
        assert later
        ahead = connection.execute("SELECT %s - now()", later).fetchone()
        assert ahead
        assert ahead[0].days in (9, 10)
