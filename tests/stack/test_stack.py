"""The whole deployment at work, as `docker compose up --wait` leaves it."""

import http.client
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.projects import PACKAGE
from tests.stack.conftest import (
    Client,
    Stack,
    build,
    fetch,
    free_ports,
    running,
    until,
)
from tests.stack.engine import PATIENCE

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
    drilled: Stack,
) -> None:
    stack = drilled
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


def test_the_application_takes_a_secret_from_a_file_as_the_page_says(stack: Stack) -> None:
    page = (stack.project / "docs/data-layer/deployment.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Secrets as files")
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found
    (stack.project / "compose.secrets.yaml").write_text(found[1], encoding="utf-8")
    env = (stack.project / ".env").read_text(encoding="utf-8")
    [password] = re.findall(r"^DATABASE_PASSWORD=(\S+)$", env, re.MULTILINE)
    secret = stack.project / "secrets" / "DATABASE_PASSWORD"
    secret.parent.mkdir()
    ask = (
        *("--file", "compose.yaml", "--file", "compose.secrets.yaml", "run", "--rm", "-T"),
        *("--no-deps", "api-a", "my-project", "database", "sessions"),
    )
    for written, code in ((password, 0), ("another", 2)):
        secret.write_text(written.strip("'\""), encoding="utf-8")
        assert stack.compose(*ask, check=False).returncode == code


def asked(port: int, path: str) -> int:
    """The status of an API's answer; 0 while there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


def test_an_api_for_development_reloads_what_is_edited(stack: Stack) -> None:
    up = ("up", "--detach", "--wait", "--no-build", "--no-deps", "api-a")
    code = stack.project / "src" / PACKAGE / "errands.py"
    before = code.read_text(encoding="utf-8")

    def status(path: str) -> int:
        return asked(stack.ports["API_PORT"], path)

    # As a person has them under the umask 077.
    for name in ("src", "migrations"):
        for path in (stack.project / name, *(stack.project / name).rglob("*")):
            path.chmod(path.stat().st_mode & 0o700)
            os.chown(path, 1000, 1000)
    stack.compose("--file", "compose.yaml", "--file", "ops/app/develop.yaml", *up)
    try:
        assert status("/edited") == 404
        route = '\n\n@router.get("/edited")\nasync def edited() -> None: ...\n'
        code.write_text(before + route, encoding="utf-8")
        until(lambda: status("/edited") == 200, "It was not loaded again.")
    finally:
        code.write_text(before, encoding="utf-8")
        stack.compose(*up)
    assert status("/edited") == 0


@contextmanager
def collecting(address: str) -> Iterator[tuple[str, list[bytes]]]:
    """A collector of traces at an address of this machine: its URL, and what it is sent."""
    taken: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None: ...  # noqa: A002 (its, too)

    with ThreadingHTTPServer((address, 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def another_api(stack: Stack, name: str) -> Iterator[int]:
    """The port on 127.0.0.1 of one API more, in a container of that name."""
    command = ("run", "--detach", "--no-deps", "--name", name)
    stack.compose(*command, "--publish", "127.0.0.1::8000", "api-a")
    try:
        yield int(stack.docker("port", name, "8000").rpartition(":")[2])
    finally:
        stack.docker("rm", "--force", name)


def test_an_api_that_stops_ends_its_open_streams_and_is_not_killed_on_stand_in_images(
    stack: Stack,
) -> None:
    name = "streaming"
    with another_api(stack, name) as port:
        until(lambda: asked(port, "/health/live") == 200, "It does not answer.")
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as open_:
            open_.request("GET", "/prices/stream")
            stream = open_.getresponse()
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            # It gives what the compose file grants, and kills what has not ended by then.
            stack.docker("stop", name)
            # Cut off in the midst, this would raise.
            assert b"data:" not in stream.read()
        # Once it has ended all, uvicorn goes by the signal that it was sent; 137 is a kill.
        assert stack.docker("inspect", "--format={{.State.ExitCode}}", name) == "143"


@pytest.mark.long
def test_a_database_whose_first_start_broke_off_is_never_healthy_on_stand_in_images(
    stack: Stack, docker: dict[str, str], tmp_path: Path
) -> None:
    """The entrypoint begins with the second start as if the first had ended."""
    project = shutil.copytree(stack.project, tmp_path / "broken")
    env, port = project / ".env", free_ports()["DATABASE_PORT"]
    lines = env.read_text(encoding="utf-8").splitlines()
    own = {"COMPOSE_PROJECT_NAME": "broken", "DATABASE_PORT": str(port)}
    kept = [line for line in lines if line.partition("=")[0] not in own]
    env.write_text("\n".join([*kept, *("=".join(one) for one in own.items()), ""]), "utf-8")
    first = min((project / "ops/postgres/initdb").glob("*.sql"))
    first.write_text("SELECT 1 / 0;\n", encoding="utf-8")
    with running(Stack(project, docker, {})) as broken:
        broken.compose("up", "--detach", "--no-build", "--pull", "never", "postgres", check=False)
        container = broken.compose("ps", "--all", "--quiet", "postgres").stdout.strip()

        def state() -> Any:
            return json.loads(broken.docker("inspect", "--format={{json .}}", container))

        def serves() -> bool:
            command = ("exec", "-T", "postgres", "pg_isready", "--quiet", "--host", "127.0.0.1")
            return broken.compose(*command, check=False).returncode == 0

        until(lambda: state()["RestartCount"] > 0, "It was not started again.")
        until(serves, "It does not serve.")
        moment = datetime.now(UTC).isoformat()
        until(
            lambda: any(
                one["Start"] > moment and one["ExitCode"] != 0
                for one in state()["State"]["Health"]["Log"]
            ),
            "Its health was not asked, or is good.",
        )
        assert state()["State"]["Health"]["Status"] != "healthy"


@pytest.mark.long
def test_an_image_of_files_that_nobody_else_can_read_starts_on_stand_in_images(
    stack: Stack, tmp_path: Path
) -> None:
    """As a clone under the umask 077 has them."""
    project = shutil.copytree(stack.project, tmp_path / "private")
    for path in [project, *project.rglob("*")]:
        path.chmod(path.stat().st_mode & 0o700)
    image = "my-project:private"
    stack.docker(
        *("build", "--network=none", "--target", "app", "-q", "-t", image, str(project)),
    )
    try:
        assert "sagas" in stack.docker(
            "run", "--rm", "--network=none", image, "my-project", "--help"
        )
    finally:
        stack.docker("rmi", "--force", image)


@pytest.mark.long
def test_an_image_built_for_traces_sends_them_and_the_other_has_nothing_for_it_on_stand_in_images(
    stack: Stack, docker: dict[str, str]
) -> None:
    sdk = "import importlib.util as u; print(u.find_spec('opentelemetry.sdk') is not None)"
    has = ("run", "--rm", "--network=none", "--entrypoint=python")
    assert stack.docker(*has, "my-project:0.1.0", "-c", sdk) == "False"

    # What the page on the database says of containers.
    project = stack.project
    env, app = project / ".env", project / ".env.app"
    before = {path: path.read_text(encoding="utf-8") for path in (env, app)}
    network = f"{stack.setting('COMPOSE_PROJECT_NAME')}_default"
    [gateway] = json.loads(stack.docker("network", "inspect", network))[0]["IPAM"]["Config"]
    try:
        env.write_text(f"{before[env]}SEND_TRACES=true\nAPP_IMAGE=my-project:traces\n", "utf-8")
        fetch(project, "tracing")
        build(project, docker)
        assert stack.docker(*has, "my-project:traces", "-c", sdk) == "True"
        with collecting(gateway["Gateway"]) as (url, taken):
            sent = f"{before[app]}SEND_TRACES=true\nOTEL_EXPORTER_OTLP_ENDPOINT={url}\n"
            app.write_text(sent, "utf-8")
            with another_api(stack, "traced") as port:
                until(lambda: asked(port, "/errands/any") == 200, "It does not answer.")
                until(lambda: b"GET /errands/{name}" in b"".join(taken), "No span arrives.")
            assert b"my-project" in b"".join(taken)
    finally:
        for path, text in before.items():
            path.write_text(text, "utf-8")
