"""The whole deployment at work, as `docker compose up --wait` leaves it."""

import json
import re

import pytest

from tests.stack.conftest import Client, Stack, backed_up, until

pytestmark = pytest.mark.xdist_group("stack")


WRITING = ("-postgres-1", "-backup-1", "-checks-1")


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


def test_one_id_finds_all_that_a_request_set_off_in_json_on_stand_in_images(
    stack: Stack, client: Client
) -> None:
    told = {"X-Request-ID": "errand-17"}
    assert client.ask("POST", "/errands", {"name": "second"}, **told)[0] == 202

    def about(program: str) -> list[str]:
        said = stack.compose("logs", "--no-log-prefix", program).stdout
        lines = [json.loads(line) for line in said.splitlines()]
        return [line["message"] for line in lines if line.get("request_id") == "errand-17"]

    until(
        lambda: (
            any("POST /errands" in message for message in [*about("api-a"), *about("api-b")])
            and "The job is done." in about("worker")
            and any(message.endswith("is completed.") for message in about("saga-worker"))
            and "The message is delivered." in about("outbox-relay")
        ),
        "Not every program says what it did.",
    )


def test_the_edge_hides_what_is_for_the_monitoring(client: Client) -> None:
    assert client.ask("GET", "/health/live")[0] == 200
    assert client.ask("GET", "/health/ready")[0] == 404
    assert client.ask("GET", "/metrics")[0] == 404


def test_a_backup_is_taken_the_drill_passes_and_the_checklist_is_green_on_stand_in_images(
    stack: Stack,
) -> None:
    until(lambda: backed_up(stack), "The schedule made no backup.")
    stack.compose("run", "--rm", "-T", "drill")
    checked = stack.compose("run", "--rm", "-T", "drill", "check", "--json", check=False)
    report = json.loads(checked.stdout)
    assert {
        one["id"]: one["evidence"] for one in report["checks"] if one["verdict"] == "failed"
    } == {}
    assert checked.returncode == 0


def test_no_container_may_do_more_than_it_needs(stack: Stack) -> None:
    running = stack.docker("ps", "--quiet").split()
    services = set(stack.compose("config", "--services").stdout.split())
    # One has ended, and the other has no stand-in.
    assert set(stack.compose("ps", "--services").stdout.split()) == services - {
        "migrate",
        "grafana",
    }

    def healthy() -> bool:
        status = stack.docker("inspect", "--format={{.State.Health.Status}}", *running)
        return set(status.split()) == {"healthy"}

    # Another test may have started some of them.
    until(healthy, "A container is not healthy.")
    for container in json.loads(stack.docker("inspect", *running)):
        name, host = container["Name"], container["HostConfig"]
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        # PostgreSQL's image and the backup's write beside their volumes.
        assert host["ReadonlyRootfs"] or any(one in name for one in WRITING), name
        assert host["PidsLimit"], name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        bound = [one for ports in host["PortBindings"].values() for one in ports]
        assert all(one["HostIp"] == "127.0.0.1" for one in bound), name


def test_the_image_holds_what_the_list_allows_and_no_secret(stack: Stack) -> None:
    image = "my-project:0.1.0"
    find = ("run", "--rm", "--network=none", "--entrypoint=find", image)
    held = stack.docker(*find, "/app", "-mindepth", "1", "-maxdepth", "1").split()
    allowed = {".venv", "alembic.ini", "data", "migrations", "src"}
    assert {path.removeprefix("/app/") for path in held} == allowed
    env = (stack.project / ".env").read_text(encoding="utf-8")
    secrets = re.findall(r"^\w+_PASSWORD=(\S+)$", env, re.MULTILINE)
    assert len(secrets) == 6
    told = stack.docker("history", "--no-trunc", image) + stack.docker("inspect", image)
    assert not [secret for secret in secrets if secret in told]
    [configuration] = json.loads(stack.docker("inspect", image))
    assert configuration["Config"]["User"] == "app"
