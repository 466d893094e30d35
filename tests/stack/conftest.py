"""One stack for the tests of this folder: rendered, built, started once."""

import http.client
import json
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests import projects
from tests.combinations import Combination
from tests.projects import CACHE, PACKAGE, clean_environment, run, uv
from tests.rendering.test_python import tool
from tests.stack import images
from tests.stack.engine import PATIENCE, engine, install, program

# All but TimescaleDB, whose Community edition no package of Debian's has.
COMBINATION = Combination(modules=("duckdb", "files", "redis"), postgres_version="17")
# That of Debian, which the stand-in of Python's image has; this machine needs it not.
PYTHON = "3.13"
ENVIRONMENT = CACHE / "stack" / "environment"
# A part of the rendered project.
collect_ignore = ["errands.py"]

PORTS = (
    *("DATABASE_PORT", "REDIS_PORT", "REDIS_QUEUE_PORT", "PROXY_HTTP_PORT", "PROXY_HTTPS_PORT"),
    *("PROMETHEUS_PORT", "GRAFANA_PORT", "API_PORT"),
)


class Stack:
    """The stack as a person at the command line has it.

    Attributes:
        project: where it was rendered.
        ports: on 127.0.0.1, by the variable that sets each.
    """

    def __init__(self, project: Path, docker: dict[str, str], ports: dict[str, int]) -> None:
        self.project = project
        self.ports = ports
        self._environment = clean_environment(**docker)

    def up(self) -> None:
        """Start and change what is to run, and wait until it is healthy."""
        command = ["up", "--detach", "--wait", "--wait-timeout", "240"]
        command += ["--no-build", "--pull", "never"]
        if "grafana" in self.compose("config", "--services").stdout.split():
            # It has no stand-in.
            command += ["--scale", "grafana=0"]
        done = self.compose(*command, check=False)
        if done.returncode != 0:
            said = self.compose("logs", "--tail", "50").stdout
            state = self.compose("ps", "--all").stdout
            raise AssertionError(f"{done.stderr[-3000:]}\n{state}\n{said}")

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`; its output is captured."""
        return run(
            *(str(tool("docker-compose")), *arguments),
            cwd=self.project,
            env=self._environment,
            check=check,
        )

    def type(self, command: str) -> None:
        """Run what a page of the project says, in a shell."""
        command = command.replace("docker compose", shlex.quote(str(tool("docker-compose"))))
        run("bash", "-euc", command, cwd=self.project, env=self._environment)

    def start(self, *services: str) -> None:
        """Start what was stopped, without compose's wait for all that it depends on."""
        self.docker("start", *self.compose("ps", "--all", "--quiet", *services).stdout.split())

    def setting(self, name: str) -> str:
        """A line of `.env`."""
        env = (self.project / ".env").read_text(encoding="utf-8")
        return dict(line.partition("=")[::2] for line in env.splitlines())[name]

    def volume(self, name: str) -> Path:
        """Where a volume of the stack is on this machine."""
        whole = f"{self.setting('COMPOSE_PROJECT_NAME')}_{name}"
        return Path(self.docker("volume", "inspect", "--format={{.Mountpoint}}", whole))

    def docker(self, *arguments: str) -> str:
        """What `docker` prints."""
        return run(program(), *arguments, cwd=self.project, env=self._environment).stdout.strip()


@pytest.fixture(scope="session")
def docker() -> Iterator[dict[str, str]]:
    """The variables that lead to an engine of the tests' own."""
    install()
    with engine(CACHE / "stack" / "engine") as variables:
        yield variables
        # What this run's images replaced; some gigabytes each time.
        for kind in ("image", "builder"):
            prune = (program(), kind, "prune", "--force")
            run(*prune, cwd=CACHE, env=clean_environment(**variables))


@pytest.fixture(scope="session")
def stack(
    template: Path, docker: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The whole deployment, up and healthy."""
    scratch = tmp_path_factory.mktemp("stack")
    project = projects.render(template, scratch / "my project", **COMBINATION.answers())
    write_errands(project, PACKAGE)
    ports = settle(project, PACKAGE)
    images.build_stand_ins(project, CACHE / "stack", docker, scratch)
    build(project, docker)
    with running(Stack(project, docker, ports)) as found:
        found.up()
        yield found


def build(project: Path, docker: dict[str, str]) -> None:
    """Build the project's images, of what `settle` has fetched."""
    images.fill_cache(CACHE / "stack" / "uv", docker)
    images.build_project(project, docker)


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """Leave nothing of a stack behind."""
    try:
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")


def free_ports() -> dict[str, int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    found = {name: one.getsockname()[1] for name, one in zip(PORTS, listening, strict=True)}
    for one in listening:
        one.close()
    return found


def write_errands(project: Path, package: str) -> None:
    """Add a module with a job, a saga and a message, as a person does."""
    folder = project / "src" / package
    shutil.copy(Path(__file__).parent / "errands.py", folder / "errands.py")
    for path, before, after in (
        (folder / "app.py", "from .market import routes", "from . import errands\n{}"),
        (folder / "app.py", "    return app", "    errands.include_in(app)\n{}"),
        (folder / "__main__.py", f'"{package}.market"', f'{{}}, "{package}.errands"'),
        (
            project / "migrations/env.py",
            f"from {package}.market",
            f"import {package}.errands\n{{}}",
        ),
    ):
        text = path.read_text(encoding="utf-8")
        assert before in text, path
        path.write_text(text.replace(before, after.format(before), 1), encoding="utf-8")


def settle(project: Path, package: str) -> dict[str, int]:
    """Do all that a person does before the first deployment.

    Returns:
        The ports of `.env`, by the variable that sets each.
    """
    write_migration(project, package, "add errands")
    ports = free_ports()
    env = project / ".env"
    settings = {
        "COMPOSE_PROFILES": "app,queue,sagas,backup,monitoring",
        "BACKUP_TOOL": "pgbackrest",
        "ALERT_WEBHOOK_URL": "http://api-a:8000/errands/told",
        **{name: str(port) for name, port in ports.items()},
    }
    kept = re.sub(r"^BACKUP_TOOL=.*\n", "", env.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    env.write_text(kept + lines, encoding="utf-8")
    (project / ".env.app").write_text("JSON_LOGS=true\n", encoding="utf-8")
    return ports


def write_migration(project: Path, package: str, message: str) -> None:
    """Lock what the project needs, write the migration to its models, and what `.env` lacks."""
    ENVIRONMENT.parent.mkdir(parents=True, exist_ok=True)
    own = clean_environment(
        UV_CACHE_DIR=CACHE / "stack" / "uv",
        UV_PROJECT_ENVIRONMENT=ENVIRONMENT,
        PYTHONPATH=project / "src",
        PATH=f"{ENVIRONMENT / 'bin'}:{clean_environment()['PATH']}",
    )
    sync = ("sync", "--quiet", "--no-dev", "--group", "embedded", "--no-install-project")
    run(uv(), *sync, cwd=project, env=own)
    fetch(project)
    python = ENVIRONMENT / "bin" / "python"
    # Alembic formats what it writes.
    run(uv(), "pip", "install", "--quiet", "--python", python, "ruff", cwd=project, env=own)
    program = (python, "-m", f"{package}.data_layer")
    revision = ("alembic", "revision", "--autogenerate", "-m", message)
    run(*program, "embedded", *revision, cwd=project, env=own)
    run(*program, "init", cwd=project, env=own)


def fetch(project: Path, *groups: str) -> None:
    """Let uv's cache have what is locked, for a Python that this machine need not have."""
    own = clean_environment(UV_CACHE_DIR=CACHE / "stack" / "uv", UV_PROJECT_ENVIRONMENT=ENVIRONMENT)
    with TemporaryDirectory() as folder:
        locked = Path(folder) / "requirements.txt"
        export = ["export", "--quiet", "--locked", "--no-dev", "--no-emit-project"]
        export += [f"--group={group}" for group in groups]
        run(uv(), *export, "--output-file", locked, cwd=project, env=own)
        target = ("--python-version", PYTHON, "--only-binary", ":all:", "--target", folder)
        run(
            *(uv(), "pip", "install", "--quiet", *target, "--requirements", locked),
            cwd=project,
            env=own,
        )


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that only a dead process keeps from coming."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def backed_up(stack: Stack) -> bool:
    """Whether the schedule has made its first backup."""
    info = stack.compose("exec", "-T", "backup", "pgbackrest", "info", "--output=json").stdout
    return bool(json.loads(info)[0]["backup"])


class Client:
    """Speaks to the edge by TLS, and trusts the authority that the edge has made."""

    def __init__(self, stack: Stack) -> None:
        root = "/data/caddy/pki/authorities/local/root.crt"
        self._trust = ssl.create_default_context(
            cadata=stack.compose("exec", "-T", "proxy", "cat", root).stdout
        )
        self._port = stack.ports["PROXY_HTTPS_PORT"]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """One request on a connection of its own: the status and the answer."""
        connection = http.client.HTTPSConnection(
            "localhost", self._port, context=self._trust, timeout=30
        )
        try:
            sent = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} | headers
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="session")
def client(stack: Stack) -> Client:
    return Client(stack)


@pytest.fixture(scope="session")
def drilled(stack: Stack) -> Stack:
    """The stack once its schedule has made a backup, and the drill has restored it."""
    until(lambda: backed_up(stack), "The schedule made no backup.")
    stack.compose("run", "--rm", "-T", "drill")
    return stack


class Prometheus:
    """A server that scrapes the stack, asked over its port on 127.0.0.1."""

    def __init__(self, port: int | str) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer; one that is an error raises."""
        url = f"{self._address}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]
