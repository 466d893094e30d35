"""`database …`: the questions that one asks at night."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import URL
from typer.testing import CliRunner, Result

from my_project.data_layer.cli import create_cli
from my_project.data_layer.database.commands import QUESTIONS
from my_project.data_layer.devservers.postgresql import EmbeddedServer
from tests.data_layer.fixtures import connect
from tests.layer import PATIENCE
from tests.layer.servers import restart

pytestmark = pytest.mark.usefixtures("database_in_environment")


def ask(*words: str) -> Result:
    return CliRunner().invoke(create_cli(), ["database", *words], env={"COLUMNS": "300"})


def rows(result: Result) -> list[list[str]]:
    """The cells of what was answered, below the head of the table."""
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()[2:]
    return [[cell.strip() for cell in line.split("│")] for line in lines]


@pytest.fixture
def tables(database_url: URL) -> Iterator[psycopg.Connection]:
    with connect(database_url) as connection:
        connection.execute("CREATE TABLE crowded (id int PRIMARY KEY)")
        yield connection
        connection.execute("DROP TABLE crowded")


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "slow"])
def test_each_answers_on_a_quiet_server(question: str) -> None:
    result = ask(question)
    assert result.exit_code == 0, result.output


def test_who_waits_is_shown_with_who_is_in_the_way(
    tables: psycopg.Connection, database_url: URL
) -> None:
    with connect(database_url) as waiting:
        with tables.transaction():
            tables.execute("LOCK TABLE crowded")
            waiter = threading.Thread(target=waiting.execute, args=["TABLE crowded"])
            waiter.start()
            until(tables, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            [wait], sessions = rows(ask("locks")), rows(ask("sessions"))
        waiter.join(PATIENCE)
        pids = {str(connection.info.backend_pid) for connection in (waiting, tables)}
    waits, _, lock, statement, held_by, _, state, _ = wait
    assert {waits, held_by} == pids
    assert held_by == str(tables.info.backend_pid)
    assert (lock, statement) == ("AccessShareLock on crowded", "TABLE crowded")
    assert state == "idle in transaction"
    assert pids <= {session[0] for session in sessions}


def test_dead_rows_and_indexes_are_counted(tables: psycopg.Connection, database_url: URL) -> None:
    with connect(database_url) as filling:  # its statistics are sent when it ends
        filling.execute("ALTER TABLE crowded SET (autovacuum_enabled = false)")
        filling.execute("INSERT INTO crowded SELECT generate_series(1, 4000)")
        filling.execute("DELETE FROM crowded WHERE id > 1000")
    until(tables, "SELECT n_dead_tup = 3000 FROM pg_stat_user_tables WHERE relname = 'crowded'")
    [bloat] = [row for row in rows(ask("bloat")) if row[0] == "crowded"]
    assert bloat[2:6] == ["1000", "3000", "75.0", "never"]
    indexes = rows(ask("indexes", "--number", "1000"))
    assert ["crowded_pkey", "crowded"] in [row[:2] for row in indexes]
    assert len(rows(ask("indexes", "--number", "1"))) == 1


def test_slow_says_what_is_missing_then_what_took_the_time(
    own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", own_server.url.render_as_string(hide_password=False))
    absent = ask("slow")
    with connect(own_server.url) as connection:
        connection.execute('CREATE SCHEMA "Statistics"')
        connection.execute('CREATE EXTENSION pg_stat_statements SCHEMA "Statistics"')
        connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    not_loaded = ask("slow")
    restart(own_server)
    with connect(own_server.url) as connection:
        connection.execute("SELECT pg_sleep(0.5), 'a secret'")
    slow = ask("slow")
    for result in (absent, not_loaded):
        assert result.exit_code == 2
        assert "check --only DL-PG-06" in " ".join(result.output.split())
    assert "pg_sleep($1)" in rows(slow)[0][-1]
    assert "a secret" not in slow.output


def until(connection: psycopg.Connection, question: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while connection.execute(question.encode()).fetchone() != (True,):
        assert time.monotonic() < deadline, question
        time.sleep(0.02)
