"""What `check` says of Redis: a sound server passes, and each fault is found."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from my_project.data_layer import checklist
from my_project.data_layer.checklist import Finding, Verdict
from my_project.data_layer.devservers.redis import embedded_services
from my_project.data_layer.redis import RedisSettings, checks
from tests.data_layer.redis.fixtures import settings_of
from tests.layer.redis.servers import OwnServer, own_server
from tests.layer.redis.test_topologies import works

ALL = [f"DL-RD-0{number}" for number in range(1, 8)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OwnServer]:
    """A server as it should be, which the environment leads to."""
    with own_server({"maxmemory": "256mb", "maxmemory-policy": "allkeys-lru"}) as server:
        monkeypatch.chdir(tmp_path)  # a developer's .env plays no part
        monkeypatch.setenv("REDIS_URL", server.url)
        yield server


async def ask(name: str) -> Finding:
    [check] = [check for check in checks.redis_checks() if check.id == name]
    report = await checklist.run([check])
    return report.results[0].finding


def changed(server: OwnServer, *command: str) -> None:
    with Redis.from_url(server.url) as client:
        client.execute_command(*command)


@pytest.mark.parametrize("name", ALL)
async def test_a_sound_server_passes(server: OwnServer, name: str) -> None:
    finding = await ask(name)
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.remedy == ""
    assert server.password not in finding.evidence


async def test_what_demo_and_embedded_start_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with embedded_services() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        report = await checklist.run(checks.redis_checks())
    assert report.ok, [result.finding for result in report.results]


# In a process of its own: there the first connection takes several turns of the event loop.
BESIDE_ONE_THAT_COMPUTES = """
import asyncio, time
from my_project.data_layer import checklist
from my_project.data_layer.redis import checks
from my_project.data_layer.redis.queue.checks import queue_checks

async def compute():
    for _ in range(3):
        await asyncio.sleep(0)
        time.sleep(1.1)  # more than REDIS_CONNECT_TIMEOUT
    return checklist.passed("")

computing = checklist.Check("", "", compute)
for asked in (checks.redis_checks(), queue_checks()):
    report = asyncio.run(checklist.run([*asked, computing]))
    assert report.ok, [result.finding for result in report.results]
"""


def test_a_check_that_computes_for_long_fails_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The tests have set them, for servers on a busy machine.
    for name in ("REDIS_TIMEOUT", "REDIS_CONNECT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    with embedded_services() as variables:
        subprocess.run(
            [sys.executable, "-c", BESIDE_ONE_THAT_COMPUTES],
            check=True,
            cwd=tmp_path,
            env=os.environ | variables,
        )


async def test_a_server_at_a_socket_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bounded = {"maxmemory": "256mb", "maxmemory-policy": "allkeys-lru"}
    with own_server({**bounded, "unixsocket": "redis.sock"}) as server:
        url = f"unix://:{server.password}@{server.folder}/redis.sock?db=1"
        await works(settings_of(url))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("REDIS_URL", url)
        report = await checklist.run(checks.redis_checks())
    assert report.ok, [result.finding for result in report.results]


@pytest.mark.standard("DL-RD-01")
async def test_a_server_that_is_down_fails_them_all_in_one_sentence(
    server: OwnServer,
) -> None:
    server.kill()
    report = await checklist.run(checks.redis_checks())
    assert {result.finding.verdict for result in report.results} == {Verdict.FAILED}
    [sentence] = {result.finding.evidence for result in report.results}
    assert f"127.0.0.1:{server.port}" in sentence
    assert server.password not in sentence


@pytest.mark.standard("DL-RD-01")
@pytest.mark.parametrize(
    ("info", "verdict"),
    [
        ({"server_name": "valkey", "valkey_version": "7.2.4"}, Verdict.FAILED),
        ({"server_name": "valkey", "valkey_version": "8.0.1"}, Verdict.PASSED),
        ({"redis_version": "7.0.15"}, Verdict.FAILED),
        ({"redis_version": "8.2.0"}, Verdict.PASSED),
    ],
)
async def test_an_old_server_fails(
    server: OwnServer,
    monkeypatch: pytest.MonkeyPatch,
    info: dict[str, Any],
    verdict: Verdict,
) -> None:
    facts = replace(await checks.ask(settings_of(server.url)), info={"the server": info})

    async def old(_: object) -> checks.Facts:
        return facts

    monkeypatch.setattr(checks, "ask", old)
    assert (await ask("DL-RD-01")).verdict is verdict


@pytest.mark.standard("DL-RD-02")
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("maxmemory", "0", "no maxmemory"),
        ("maxmemory", "100mb", "REDIS_MAXMEMORY"),
        ("maxmemory-policy", "noeviction", "noeviction"),
    ],
)
async def test_memory_that_is_not_as_configured_fails(
    server: OwnServer, setting: str, value: str, words: str
) -> None:
    changed(server, "CONFIG", "SET", setting, value)
    finding = await ask("DL-RD-02")
    assert finding.verdict is Verdict.FAILED
    assert words in finding.evidence


@pytest.mark.standard("DL-RD-03")
async def test_a_server_that_lets_everybody_in_fails(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(server, "ACL", "SETUSER", "desk", "on", f">{server.password}", "~*", "&*", "+@all")
    changed(server, "ACL", "SETUSER", "default", "nopass")
    monkeypatch.setenv("REDIS_URL", server.url.replace("//:", "//desk:"))
    finding = await ask("DL-RD-03")
    assert finding.verdict is Verdict.FAILED
    assert "no password" in finding.evidence


@pytest.mark.standard("DL-RD-03")
@pytest.mark.parametrize(
    ("password", "verdict"), [("redis", Verdict.ADVICE), ("secret", Verdict.FAILED)]
)
async def test_a_weak_password_does_not_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, password: str, verdict: Verdict
) -> None:
    monkeypatch.chdir(tmp_path)
    with own_server(password=password) as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        assert (await ask("DL-RD-03")).verdict is verdict


@pytest.mark.standard("DL-RD-03")
async def test_a_plain_connection_to_another_machine_fails(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = await checks.ask(settings_of(server.url))

    async def elsewhere(settings: RedisSettings) -> checks.Facts:
        return replace(facts, settings=settings)

    monkeypatch.setattr(checks, "ask", elsewhere)
    monkeypatch.setenv("REDIS_URL", "redis://:a-long-password-1@cache.example.org/0")
    assert (await ask("DL-RD-03")).verdict is Verdict.FAILED
    monkeypatch.setenv("REDIS_URL", "rediss://:a-long-password-1@cache.example.org/0")
    assert (await ask("DL-RD-03")).verdict is Verdict.PASSED


@pytest.mark.standard("DL-RD-04")
async def test_a_cache_that_seldom_hits_is_advised_against(server: OwnServer) -> None:
    with Redis.from_url(server.url) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(checks.ENOUGH_READS):
            pipeline.get(f"none-{number}")
        pipeline.execute()
    finding = await ask("DL-RD-04")
    assert finding.verdict is Verdict.ADVICE
    assert " 0 % hits" in finding.evidence


@pytest.mark.standard("DL-RD-05")
@pytest.mark.parametrize(
    ("name", "seconds", "words"),
    [
        ("users:profile:user-123:v1", None, "never expire"),
        ("users:profile:user-123", 60, "not of the form"),
        ("users:profile:user 123:v1", 60, "not of the form"),
        ("{users:profile:user-123:v1}:lock", None, "never expire"),
    ],
)
async def test_a_key_that_breaks_a_rule_fails(
    server: OwnServer, name: str, seconds: int | None, words: str
) -> None:
    with Redis.from_url(server.url) as client:
        client.set("users:profile:user-1:v1", "sound", ex=60)
        client.set(name, "x", ex=seconds)
    finding = await ask("DL-RD-05")
    assert finding.verdict is Verdict.FAILED
    assert words in finding.evidence
    assert name in finding.evidence


@pytest.mark.standard("DL-RD-06")
async def test_data_that_cannot_be_written_fails(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = await checks.ask(settings_of(server.url))
    [(node, info)] = facts.info.items()
    broken = replace(facts, info={node: info | {"aof_last_write_status": "err"}})

    async def full_disk(_: object) -> checks.Facts:
        return broken

    monkeypatch.setattr(checks, "ask", full_disk)
    finding = await ask("DL-RD-06")
    assert finding.verdict is Verdict.FAILED
    assert "aof_last_write_status is err" in finding.evidence


@pytest.mark.standard("DL-RD-07")
async def test_a_replica_is_no_place_to_write(server: OwnServer) -> None:
    changed(server, "REPLICAOF", "127.0.0.1", "1")
    finding = await ask("DL-RD-07")
    assert finding.verdict is Verdict.FAILED
    assert "refuses every write" in finding.evidence


async def test_a_user_who_may_not_look_is_told_what_is_missing(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(server, "ACL", "SETUSER", "desk", "on", ">a-long-password-1", "~*", "+@all", "-scan")
    monkeypatch.setenv("REDIS_URL", f"redis://desk:a-long-password-1@127.0.0.1:{server.port}/0")
    finding = await ask("DL-RD-05")
    assert finding.verdict is Verdict.FAILED
    assert "'scan'" in finding.evidence
    assert "ops/redis/start.sh" in finding.evidence + finding.remedy
