"""Under load each container is replaced, restarted and killed."""

import os
import signal

import pytest

from tests.stack.conftest import Client, Stack, until
from tests.stack.load import Load

pytestmark = [pytest.mark.xdist_group("stack"), pytest.mark.long]

SERVERS = ("postgres", "redis", "redis-queue")
PROGRAMS = ("api-a", "api-b", "worker", "scheduler", "saga-worker", "outbox-relay", "proxy")


def healthy(stack: Stack, service: str) -> bool:
    container = stack.compose("ps", "--quiet", service).stdout.strip()
    return stack.docker("inspect", "--format={{.State.Health.Status}}", container) == "healthy"


def test_replacing_the_apis_one_after_the_other_fails_no_request_on_stand_in_images(
    stack: Stack, client: Client
) -> None:
    load = Load(client)
    with load.running():
        load.more()
        for service in ("api-a", "api-b"):
            again = ("up", "--detach", "--wait", "--no-deps", "--no-build", "--force-recreate")
            stack.compose(*again, service)
            load.more()
    assert load.failed == []
    load.all_are_done()


@pytest.mark.parametrize("service", [*PROGRAMS, *SERVERS])
def test_what_was_acknowledged_is_done_although_a_container_is_restarted_and_killed(
    stack: Stack, client: Client, service: str
) -> None:
    load = Load(client)
    with load.running():
        load.more()
        stack.compose("restart", service)
        until(lambda: healthy(stack, service), f"{service} does not come back.")
        load.more()
        container = stack.compose("ps", "--quiet", service).stdout.strip()
        # The engine counts its own `kill` as a stop that somebody wanted.
        killed = int(stack.docker("inspect", "--format={{.State.Pid}}", container))
        os.kill(killed, signal.SIGKILL)
        until(
            lambda: (
                stack.docker("inspect", "--format={{.State.Pid}}", container)
                not in {"0", str(killed)}
            ),
            f"{service} was not started again.",
        )
        until(lambda: healthy(stack, service), f"{service} does not come back.")
        load.more()
    load.all_are_done()
