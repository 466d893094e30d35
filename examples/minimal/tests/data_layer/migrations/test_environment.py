"""How migrations run: one deployer at a time, all or nothing, bounded waits."""

import asyncio
import time

import psycopg
import pytest
from alembic import command
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.operations.ops import CreateTableOp, UpgradeOps
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, Integer
from sqlalchemy.exc import DBAPIError, OperationalError

from minimal.data_layer.database.migrations import (
    Irreversible,
    MigrationError,
    autogenerate_plugin,
    plugins,
)
from minimal.data_layer.database.migrations.environment import (
    LOCK_KEY,
)
from minimal.data_layer.database.migrations.runner import (
    run_command,
)

from .conftest import Scratch, run_alembic

LOCK = f"SELECT pg_advisory_lock({LOCK_KEY})"


async def test_two_deployers_at_once(scratch: Scratch) -> None:
    scratch.migration('op.execute("CREATE TABLE t (i int)")\nop.execute("SELECT pg_sleep(1.5)")')
    scratch.migration('create_index_concurrently("ix_t_i", "t", ["i"])')
    results = await asyncio.gather(
        scratch.alembic("upgrade", "head"), scratch.alembic("upgrade", "head")
    )
    assert [code for code, _ in results] == [0, 0], results
    ran = sorted(output.count("Running upgrade") for _, output in results)
    assert ran == [0, 2]
    assert sum("Waiting for another deployer" in output for _, output in results) == 1
    assert scratch.query("SELECT version_num FROM alembic_version") == [("m2",)]


async def test_a_deployer_waits_no_longer_than_told(scratch: Scratch) -> None:
    scratch.migration('op.execute("CREATE TABLE t (i int)")')
    with scratch.connect() as other:
        other.execute(LOCK)
        started = time.monotonic()
        code, output = await scratch.alembic("upgrade", "head", MIGRATION_WAIT="0.5")
        assert time.monotonic() - started < 15
        assert code != 0
        assert f"(server process {other.info.backend_pid})" in output
        assert "Traceback" not in output
        # What only reads waits for nobody.
        await asyncio.wait_for(run_command(command.current, scratch.config()), 15)
    await scratch.upgrade()
    assert scratch.query("SELECT * FROM t") == []


async def test_two_tasks_of_one_process(scratch: Scratch) -> None:
    scratch.migration('op.execute("CREATE TABLE t (i int)")\nop.execute("SELECT pg_sleep(0.2)")')
    await asyncio.gather(scratch.upgrade(), scratch.upgrade())
    assert scratch.query("SELECT version_num FROM alembic_version") == [("m1",)]


async def test_a_migration_that_fails_half_way_leaves_nothing(scratch: Scratch) -> None:
    scratch.migration('op.execute("CREATE TABLE kept (i int)")')
    scratch.migration('op.execute("CREATE TABLE half (i int)")\nop.execute("SELECT 1/0")')
    with pytest.raises(DBAPIError) as caught:
        await scratch.upgrade()
    assert "division by zero" in str(caught.value)
    assert "rolled back" in caught.value.__notes__[0]
    tables = scratch.query("SELECT relname FROM pg_class WHERE relname IN ('kept', 'half')")
    assert tables == [("kept",)]
    assert scratch.query("SELECT version_num FROM alembic_version") == [("m1",)]


async def test_the_lock_timeout_is_short_and_the_migration_is_tried_again(
    scratch: Scratch,
) -> None:
    scratch.migration('op.execute("CREATE TABLE t (i int)")')
    await scratch.upgrade()
    scratch.migration('op.add_column("t", sa.Column("j", sa.Text))')
    environment = {"MIGRATION_LOCK_TIMEOUT": "0.2", "MIGRATION_LOCK_ATTEMPTS": "30"}
    with psycopg.connect(scratch.libpq()) as reader:
        reader.execute("SELECT * FROM t")
        deployment = asyncio.create_task(scratch.alembic("upgrade", "head", **environment))
        await _until(scratch, "SELECT true FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        await _until(
            scratch,
            "SELECT true WHERE NOT EXISTS"
            " (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')",
        )
        assert not deployment.done()
        reader.rollback()
        code, output = await deployment
    assert code == 0, output
    assert scratch.query("SELECT j FROM t") == []


async def test_the_lock_timeout_gives_up_in_the_end(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_LOCK_TIMEOUT", "0.1")
    monkeypatch.setenv("MIGRATION_LOCK_ATTEMPTS", "2")
    scratch.migration('op.execute("CREATE TABLE t (i int)")')
    scratch.migration('op.execute("CREATE TABLE u (i int)")\nop.drop_table("t")')
    await scratch.upgrade("m1")
    with psycopg.connect(scratch.libpq()) as reader:
        reader.execute("SELECT * FROM t")
        with pytest.raises(OperationalError, match="lock timeout"):
            await scratch.upgrade()
    assert scratch.query("SELECT to_regclass('u')") == [(None,)]


async def test_timeouts_are_the_migrations_own(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_STATEMENT_TIMEOUT", "0.1")
    monkeypatch.setenv("MIGRATION_STATEMENT_TIMEOUT", "0.6")
    scratch.migration(
        "op.execute(\"CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS t,"
        " current_setting('statement_timeout') AS s FROM pg_sleep(0.3)\")"
    )
    await scratch.upgrade()
    assert scratch.query("SELECT t, s FROM seen") == [("5s", "600ms")]
    scratch.migration('op.execute("SELECT pg_sleep(1)")')
    with pytest.raises(OperationalError, match="statement timeout"):
        await scratch.upgrade()


async def test_a_script_needs_no_database_and_no_setting(scratch: Scratch) -> None:
    scratch.migration('op.execute("CREATE TABLE t (i int)")')
    code, output = await scratch.alembic(
        "upgrade", "head", "--sql", MIGRATION_LOCK_TIMEOUT="2", DATABASE_URL="nonsense"
    )
    assert code == 0, output
    script = output[output.index("SET lock_timeout") :]
    assert "SET lock_timeout = '2000ms'" in script
    statements = "\n".join(
        line for line in script.splitlines() if not line.startswith(("INFO", "--"))
    )
    with scratch.connect() as connection:
        connection.execute(statements.encode())
    assert scratch.query("SELECT version_num FROM alembic_version") == [("m1",)]
    assert scratch.query("SELECT * FROM t") == []


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"MIGRATION_URL": "postgresql://u@127.0.0.1:1/x"}, "127.0.0.1:1/x can't be reached"),
        ({"MIGRATION_WAIT": "soon"}, "MIGRATION_WAIT in .env or the environment is wrong"),
        ({"MIGRATION_URL": "mysql://u@127.0.0.1/x"}, "must begin with postgresql://"),
    ],
)
async def test_wrong_settings_are_one_sentence(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MigrationError, match=sentence):
        await run_command(command.upgrade, Config(scratch.ini), "head")


async def test_a_pooler_in_transaction_mode_is_one_sentence(scratch: Scratch) -> None:
    code, output = await run_alembic(
        scratch.folder,
        "upgrade",
        "head",
        DATABASE_URL=scratch.libpq(),
        DATABASE_TRANSACTION_POOLER="true",
    )
    assert code != 0
    assert "set MIGRATION_URL" in output
    assert "Traceback" not in output


async def test_history_needs_no_database(scratch: Scratch) -> None:
    scratch.migration('op.execute("SELECT 1")')
    code, output = await run_alembic(scratch.folder, "history")
    assert (code, "m1" in output) == (0, True)


async def test_no_migration_yet(scratch: Scratch) -> None:
    await scratch.upgrade()
    await scratch.downgrade("base")


async def test_a_migration_that_cannot_be_undone_says_why(scratch: Scratch) -> None:
    scratch.migration('op.execute("SELECT 1")', 'irreversible("the old values are gone.")')
    await scratch.upgrade()
    with pytest.raises(Irreversible, match="the old values are gone"):
        await scratch.downgrade("base")
    assert scratch.query("SELECT version_num FROM alembic_version") == [("m1",)]


async def test_a_module_takes_part_in_autogenerate(scratch: Scratch) -> None:
    def compare(_context: AutogenContext, operations: UpgradeOps, _schemas: object) -> object:
        operations.ops.append(CreateTableOp("of_the_module", [Column("i", Integer)]))
        return PriorityDispatchResult.CONTINUE

    plugin = autogenerate_plugin("a_module_of_this_test")
    plugin.add_autogenerate_comparator(compare, "schema")  # type: ignore[arg-type]
    try:
        await run_command(
            command.revision, scratch.config(), message="the extension", autogenerate=True
        )
    finally:
        plugin.remove()
        plugins._names.remove(plugin.name)
    [file] = scratch.versions.glob("*.py")
    assert '"of_the_module"' in file.read_text("utf-8").replace("'", '"')


async def _until(scratch: Scratch, question: str) -> None:
    deadline = time.monotonic() + 30
    while not scratch.query(question):
        assert time.monotonic() < deadline, question
        await asyncio.sleep(0.02)
