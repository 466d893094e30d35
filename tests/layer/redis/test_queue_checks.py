"""The checks and commands of the queue, as people and machines run them."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from my_project.data_layer import checklist
from my_project.data_layer.checklist import Finding, Verdict
from my_project.data_layer.cli import create_cli
from my_project.data_layer.redis import RedisSettings
from my_project.data_layer.redis.queue import Queue, QueueSettings
from my_project.data_layer.redis.queue.checks import queue_checks
from tests.layer import PATIENCE
from tests.layer.servers import free_port, scraped

from .tasks import fail, write

PROGRAM = """
from my_project.data_layer.cli import create_cli
create_cli(declares=["tests.layer.redis.tasks"])()
"""


@pytest.fixture
def environment(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that lead to the shared server."""
    url = redis_settings.url.get_secret_value()
    variables = {
        "REDIS_URL": url,
        "REDIS_QUEUE_URL": url,
        "REDIS_SERVICE": redis_settings.service,
        "REDIS_QUEUE_CLAIM_AFTER": "0.2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def command(*arguments: str) -> Result:
    """Run `queue …` as a person does; on a thread, since it has an event loop of its own."""
    return CliRunner().invoke(create_cli(), ["queue", *arguments], env={"COLUMNS": "200"})


async def asked(identifier: str) -> Finding:
    (check,) = [check for check in queue_checks() if check.id == identifier]
    return await check.probe()


@pytest.mark.standard("DL-RD-20")
async def test_jobs_that_pile_up_are_found(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (await asked("DL-RD-20")).verdict is Verdict.PASSED
    async with Queue.open() as queue:
        await queue.send(write, str(tmp_path), "job")
        await asyncio.sleep(0.3)
        found = await asked("DL-RD-20")
        assert found.verdict is Verdict.FAILED
        assert "Nobody does them" in found.evidence
        assert "queue worker" in found.remedy
        # A worker that is there, but behind.
        await queue.broker.client.xgroup_create(queue.broker.jobs, "workers", id="0")
        await queue.broker.client.xgroup_createconsumer(queue.broker.jobs, "workers", "one")
        assert (await asked("DL-RD-20")).verdict is Verdict.PASSED
        monkeypatch.setenv("REDIS_QUEUE_MAX_JOBS", "1")
        found = await asked("DL-RD-20")
        assert found.verdict is Verdict.FAILED
        assert "At 1 the queue refuses" in found.evidence


async def test_an_old_job_is_advice(environment: dict[str, str]) -> None:
    async with Queue.open() as queue:
        keys, client = queue.broker, queue.broker.client
        await client.xgroup_create(keys.jobs, "workers", id="0", mkstream=True)
        await client.xgroup_createconsumer(keys.jobs, "workers", "one")
        await client.xadd(keys.jobs, {"job": b"{}"}, id="1700000000000-0")
        found = await asked("DL-RD-20")
    assert found.verdict is Verdict.ADVICE
    assert "older than an hour" in found.evidence


@pytest.mark.standard("DL-RD-21")
async def test_dead_letters_are_found(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await asked("DL-RD-21")).verdict is Verdict.PASSED
    await buried(2)
    found = await asked("DL-RD-21")
    assert found.verdict is Verdict.ADVICE
    assert found.evidence == "2 dead letters."
    assert "dead-letters ls" in found.remedy
    monkeypatch.setenv("REDIS_QUEUE_MAX_DEAD_LETTERS", "2")
    assert (await asked("DL-RD-21")).verdict is Verdict.FAILED


async def test_a_project_without_a_queue_passes(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_QUEUE_URL")
    for check in queue_checks():
        assert (await check.probe()).verdict is Verdict.PASSED


async def buried(count: int) -> None:
    """Dead letters, as a worker leaves them."""
    async with Queue.open(queue=QueueSettings(_env_file=None)) as queue:
        for number in range(count):
            await queue.send(fail, f"number {number}")
        jobs: Any = await queue.broker.client.xrange(queue.broker.jobs)
        for identifier, fields in jobs:
            message = queue.broker.formatter.loads(fields[b"job"])
            await queue.broker.bury(message, f"failed: {message.args[0]}")
            await queue.broker.client.xdel(queue.broker.jobs, identifier)


async def test_dead_letters_are_listed_and_retried(environment: dict[str, str]) -> None:
    await buried(3)
    listed = await asyncio.to_thread(command, "dead-letters", "ls", "--limit", "2")
    assert listed.exit_code == 0, listed.stderr
    assert "2 of 3 dead letters." in listed.stdout
    assert "failed: number 2" in listed.stdout
    assert "number 0" not in listed.stdout
    neither = await asyncio.to_thread(command, "dead-letters", "retry")
    assert (neither.exit_code, "--all" in neither.stderr) == (2, True)
    back = await asyncio.to_thread(command, "dead-letters", "retry", "--all")
    assert back.stdout == "3 of 3 are in the queue again.\n"
    jobs = await asyncio.to_thread(command, "jobs")
    assert jobs.stdout.startswith("3 waiting, 0 running, 0 delayed, 0 dead; 0 workers;")


async def test_an_id_is_never_cut_whatever_the_terminal(environment: dict[str, str]) -> None:
    await buried(2)
    async with Queue.open() as queue:
        ids = [letter.id for letter in await queue.dead_letters()]
    listed = await asyncio.to_thread(
        lambda: CliRunner().invoke(
            create_cli(), ["queue", "dead-letters", "ls"], env={"COLUMNS": "20"}
        )
    )
    assert [line.split()[0] for line in listed.stdout.splitlines() if line[0] == "1"] == ids


async def test_an_id_of_no_dead_letter_ends_with_1(environment: dict[str, str]) -> None:
    await buried(1)
    async with Queue.open() as queue:
        [letter] = await queue.dead_letters()
        mixed = await asyncio.to_thread(command, "dead-letters", "retry", "1-1", letter.id)
        assert (mixed.exit_code, mixed.stdout) == (1, "1 of 2 are in the queue again.\n")
        assert mixed.stderr == "No dead letter has the id 1-1.\n"
        for odd in (letter.id, "x", "1", "9" * 30 + "-0", ""):
            assert (await asyncio.to_thread(command, "dead-letters", "retry", odd)).exit_code == 1
        assert (await queue.state()).jobs == 1


@pytest.mark.standard("DL-RD-20")
async def test_checks_say_that_the_queue_does_not_answer(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_QUEUE_URL", "redis://:hidden@127.0.0.1:1/0")
    report = await checklist.run(queue_checks())
    assert len(report.results) == 2
    for result in report.results:
        assert result.finding.verdict is not Verdict.PASSED
        assert "The queue does not answer" in result.finding.evidence
        assert "hidden" not in result.finding.evidence


async def test_a_queue_that_does_not_answer_is_a_sentence(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_QUEUE_URL", "redis://:hidden@127.0.0.1:1/0")
    for arguments in (["jobs"], ["worker"], ["dead-letters", "ls"], ["scheduler"]):
        said = await asyncio.to_thread(command, *arguments)
        assert said.exit_code == 2
        assert said.stderr.startswith("Error: The queue does not answer")
        assert "Traceback" not in said.stderr
        assert "hidden" not in said.stderr


async def test_a_worker_started_by_hand_does_its_jobs_and_stops(
    environment: dict[str, str], tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "queue", "worker"),
        env=os.environ | environment | {"METRICS_ADDRESS": address},
        stderr=subprocess.PIPE,
    )
    try:
        async with Queue.open() as queue:
            job = await queue.send(write, str(tmp_path), "job")
            assert (await job.wait_result(timeout=PATIENCE)).return_value == "job"
        name = write.name
        count = f'work_duration_seconds_count{{kind="job",name="{name}",outcome="done"}} 1.0'
        async with asyncio.timeout(PATIENCE):
            while count not in await asyncio.to_thread(scraped, address):
                await asyncio.sleep(0.05)
        worker.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(worker.communicate(), PATIENCE)
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    assert worker.returncode == 0
    assert b"Traceback" not in said
