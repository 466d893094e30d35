"""What a person types, and what the checks say."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import URL, func, select, update
from typer.testing import CliRunner, Result

from my_project.data_layer.cli import create_cli
from my_project.data_layer.database import Database
from my_project.data_layer.sagas import publish
from my_project.data_layer.sagas.models import OutboxRow, SagaRow
from tests.layer.servers import free_port, scraped

from . import bank
from .conftest import Bank
from .workers import ended, eventually, working

pytestmark = pytest.mark.usefixtures("database_in_environment")

DECLARES = [bank.__name__]


async def typed(*arguments: str) -> Result:
    """What the command line does; on a thread, since it has an event loop of its own."""
    environment = {"COLUMNS": "200"}
    cli = create_cli(declares=DECLARES)
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env=environment)


async def says(*arguments: str) -> str:
    done = await typed(*arguments)
    assert done.exit_code == 0, done.output
    return done.output


async def checks() -> list[dict[str, Any]]:
    done = await typed("check", "--json", "--only", "DL-SA")
    found: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return found


async def verdicts() -> dict[str, tuple[str, str]]:
    return {one["id"]: (one["verdict"], one["evidence"] + one["remedy"]) for one in await checks()}


async def parked() -> float:
    """What the monitoring is told."""
    [figure] = [one["figures"]["parked"] for one in await checks() if one["id"] == "DL-SA-01"]
    return float(figure)


async def change(database: Database, **values: object) -> None:
    async with database.transaction() as session:
        await session.execute(update(SagaRow).values(**values))


@pytest.mark.standard("DL-SA-01")
async def test_a_parked_saga_is_seen_and_retried(desk: Bank, database: Database) -> None:
    desk.exchange.behaviours["clear"].append("refuse")
    desk.exchange.behaviours["cancel"].extend(["fail"])
    await desk.start()
    async with working(database):
        await ended(database)
    assert await desk.judge() == "compensated"
    await change(database, status="parked", reason="book: OSError: down")

    row = await desk.saga()
    assert f"{row.id}  " in await says("sagas", "ls", "--status", "parked")
    assert "1  parked       tests.booking (version 1)\n" in await says("sagas", "ls")
    shown = await says("sagas", "show", str(row.id))
    assert "reason: book: OSError: down" in shown
    assert "undone   book  " in shown
    assert (await verdicts())["DL-SA-01"][0] == "failed"
    assert "sagas retry" in (await verdicts())["DL-SA-01"][1]
    assert await parked() == 1

    assert await says("sagas", "retry", "--all") == "1 go on.\n"
    assert (await desk.saga()).status == "active"
    assert await parked() == 0
    assert (await typed("sagas", "retry", str(row.id))).exit_code == 2
    assert (await typed("sagas", "retry")).exit_code == 2
    assert (await typed("sagas", "show", str(uuid4()))).exit_code == 2


async def test_a_person_resolves_a_parked_saga_with_a_note(desk: Bank, database: Database) -> None:
    await desk.start()
    await change(database, status="parked")
    row = await desk.saga()
    command = ("sagas", "resolve", str(row.id), "--note", "by hand")
    assert (await typed(*command, "--result", "{")).exit_code == 2
    assert await says(*command) == "reserve is settled; the saga goes on.\n"
    await change(database, status="parked")
    assert await says(*command, "--undo") == "It goes back.\n"
    assert (await desk.saga()).note == "by hand"


async def test_what_has_ended_is_pruned(desk: Bank, database: Database) -> None:
    await desk.start(1)
    async with working(database):
        await ended(database)
    await desk.start(2)
    assert await says("sagas", "prune") == "0 deleted.\n"
    assert await says("sagas", "prune", "--days", "0") == "1 deleted.\n"
    assert (await desk.saga(2)).status == "active"


@pytest.mark.standard("DL-SA-02")
@pytest.mark.standard("DL-SA-03")
async def test_the_checks_know_what_is_late_and_what_nobody_knows(
    desk: Bank, database: Database
) -> None:
    assert {one[0] for one in (await verdicts()).values()} == {"passed"}
    await desk.start()
    assert {one[0] for one in (await verdicts()).values()} == {"passed"}
    await change(database, due_at=select(func.now() - func.make_interval(0, 1)).scalar_subquery())
    assert (await verdicts())["DL-SA-02"][0] == "failed"
    await change(database, version=7)
    found = await verdicts()
    assert [name for name, one in found.items() if one[0] == "failed"] == ["DL-SA-03"]
    assert "1 of tests.booking (version 7)" in found["DL-SA-03"][1]
    assert "not in this code" in await says("sagas", "ls")


@pytest.mark.standard("DL-SA-04")
async def test_the_outbox_is_seen_and_its_parked_messages_retried(
    database: Database, tmp_path: Path
) -> None:
    async with database.transaction() as session:
        await publish(session, bank.lines, key="one", payload=[str(tmp_path), "1"])
    assert (await verdicts())["DL-SA-04"] == ("passed", "1 messages wait, 0 are parked.")
    async with database.transaction() as session:
        old = func.now() - func.make_interval(0, 1)
        await session.execute(update(OutboxRow).values(created_at=old))
    assert "outbox relay" in (await verdicts())["DL-SA-04"][1]
    async with database.transaction() as session:
        await session.execute(update(OutboxRow).values(parked=True, reason="OSError: down"))
    assert "0 wait, 1 parked  tests.lines" in await says("outbox", "ls")
    assert "reason: OSError: down" in await says("outbox", "ls")
    assert "outbox retry" in (await verdicts())["DL-SA-04"][1]
    assert await says("outbox", "retry") == "1 are due again.\n"
    async with database.transaction() as session:
        await session.execute(update(OutboxRow).values(topic="tests.gone"))
    assert "No topic of this code is called tests.gone" in (await verdicts())["DL-SA-04"][1]


async def test_without_the_tables_everything_says_so_in_a_sentence(
    empty_database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = empty_database_url.render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    assert {one[0] for one in (await verdicts()).values()} == {"passed"}
    for command in (("sagas", "worker"), ("sagas", "ls"), ("outbox", "relay")):
        done = await typed(*command)
        assert done.exit_code == 2
        assert "alembic revision" in " ".join(done.output.split())


SERVE = """
from my_project.data_layer.cli import create_cli
create_cli(declares=["tests.layer.sagas.bank"])()
"""


def counted(kind: str, name: str) -> str:
    labels = f'kind="{kind}",name="{name}",outcome="done"'
    return f"work_duration_seconds_count{{{labels}}} 1.0"


async def test_worker_and_relay_work_until_they_are_told_to_stop(
    desk: Bank, database: Database, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    await desk.start()
    async with database.transaction() as session:
        await publish(session, bank.lines, key="one", payload=[str(tmp_path), "1"])
    served, addresses = [], []
    for group in (("sagas", "worker"), ("outbox", "relay")):
        command = [sys.executable, "-c", SERVE, *group]
        addresses.append(f"127.0.0.1:{free_port()}")
        variables = os.environ | {"METRICS_ADDRESS": addresses[-1]}
        served.append(subprocess.Popen(command, cwd=pytestconfig.rootpath, env=variables))

    async def is_delivered() -> bool:
        return await asyncio.to_thread((tmp_path / "delivered").exists)

    await ended(database)
    await eventually(is_delivered)
    wanted = (
        [counted("saga_step", f"tests.booking.{step.name}") for step in bank.booking.steps],
        [counted("outbox_message", "tests.lines")],
    )
    for address, lines in zip(addresses, wanted, strict=True):

        async def is_told(address: str = address, lines: list[str] = lines) -> bool:
            found = await asyncio.to_thread(scraped, address)
            # The tables are asked apart from the work, every fifteen seconds.
            assert any(line.startswith("# HELP sagas ") for line in found)
            return set(lines) <= set(found)

        await eventually(is_told)
    for process in served:
        os.kill(process.pid, signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
    assert await desk.judge() == "completed"
