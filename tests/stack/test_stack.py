"""The whole deployment at work, as `docker compose up --wait` leaves it."""

import http.client
import json
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.stack.conftest import Stack

pytestmark = pytest.mark.xdist_group("stack")

PATIENCE = 120


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that only a dead process keeps from coming."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


class Client:
    """Speaks to the edge by TLS, and trusts the authority that the edge has made."""

    def __init__(self, stack: Stack) -> None:
        root = "/data/caddy/pki/authorities/local/root.crt"
        self._trust = ssl.create_default_context(
            cadata=stack.compose("exec", "-T", "proxy", "cat", root).stdout
        )
        self._port = stack.ports["PROXY_HTTPS_PORT"]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """One request on a connection of its own: the status and the answer."""
        connection = http.client.HTTPSConnection(
            "localhost", self._port, context=self._trust, timeout=30
        )
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="session")
def client(stack: Stack) -> Client:
    return Client(stack)


def test_a_request_through_the_edge_starts_a_job_a_saga_and_a_message_on_stand_in_images(
    client: Client,
) -> None:
    assert client.ask("POST", "/errands", {"name": "first"})[0] == 202
    until(
        lambda: (
            json.loads(client.ask("GET", "/errands/first")[1])
            == ["job", "message", "request", "saga"]
        ),
        "The errand was not done.",
    )
    # The scheduler sends it every minute.
    until(
        lambda: json.loads(client.ask("GET", "/errands/of%20the%20schedule")[1]) == ["job"],
        "The schedule sent nothing.",
    )


def test_the_edge_hides_what_is_for_the_monitoring(client: Client) -> None:
    assert client.ask("GET", "/health/live")[0] == 200
    assert client.ask("GET", "/health/ready")[0] == 404
    assert client.ask("GET", "/metrics")[0] == 404


def test_a_backup_is_taken_the_drill_passes_and_the_checklist_is_green_on_stand_in_images(
    stack: Stack,
) -> None:
    def backed_up() -> bool:
        info = stack.compose("exec", "-T", "backup", "pgbackrest", "info", "--output=json").stdout
        return bool(json.loads(info)[0]["backup"])

    until(backed_up, "The schedule made no backup.")
    stack.compose("run", "--rm", "-T", "drill")
    checked = stack.compose("run", "--rm", "-T", "drill", "check", "--json", check=False)
    report = json.loads(checked.stdout)
    assert {
        one["id"]: one["evidence"] for one in report["checks"] if one["verdict"] == "failed"
    } == {}
    assert checked.returncode == 0


def test_no_container_may_do_more_than_it_needs(stack: Stack) -> None:
    running = stack.docker("ps", "--quiet").split()
    assert len(running) == len(stack.compose("config", "--services").stdout.split()) - 1
    for container in json.loads(stack.docker("inspect", *running)):
        name, host = container["Name"], container["HostConfig"]
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"], name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert container["State"]["Health"]["Status"] == "healthy", name
        bound = [one for ports in host["PortBindings"].values() for one in ports]
        assert all(one["HostIp"] == "127.0.0.1" for one in bound), name
