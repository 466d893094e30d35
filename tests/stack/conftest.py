"""One stack for the tests of this folder: rendered, built, started once."""

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests import projects
from tests.combinations import Combination
from tests.projects import CACHE, PACKAGE, clean_environment, run, uv
from tests.rendering.test_python import tool
from tests.stack import images
from tests.stack.engine import DOCKER, PATIENCE, engine, install

# All but TimescaleDB, whose Community edition no package of Debian's has.
COMBINATION = Combination(modules=("duckdb", "files", "redis"), postgres_version="17")
# That of Debian, which the stand-in of Python's image has; this machine needs it not.
PYTHON = "3.13"
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

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`; its output is captured."""
        return run(
            *(str(tool("docker-compose")), *arguments),
            cwd=self.project,
            env=self._environment,
            check=check,
        )

    def start(self, *services: str) -> None:
        """Start what was stopped, without compose's wait for all that it depends on."""
        self.docker("start", *self.compose("ps", "--all", "--quiet", *services).stdout.split())

    def docker(self, *arguments: str) -> str:
        """What `docker` prints."""
        return run(DOCKER, *arguments, cwd=self.project, env=self._environment).stdout.strip()


@pytest.fixture(scope="session")
def stack(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole deployment, up and healthy."""
    install()
    cache = CACHE / "stack"
    scratch = tmp_path_factory.mktemp("stack")
    project = projects.render(template, scratch / "my project", **COMBINATION.answers())
    ports = _free_ports()
    _write_errands(project)
    _settle(project, cache, ports)
    with engine(cache / "engine") as docker:
        images.build_stand_ins(project, cache, docker, scratch)
        images.fill_cache(cache / "uv", docker)
        images.build_project(project, docker)
        running = Stack(project, docker, ports)
        try:
            up = (
                "up",
                "--detach",
                "--wait",
                "--wait-timeout",
                "240",
                "--no-build",
                "--scale",
                "grafana=0",
            )
            done = running.compose(*up, "--pull", "never", check=False)
            if done.returncode != 0:
                said = running.compose("logs", "--tail", "50").stdout
                state = running.compose("ps", "--all").stdout
                raise AssertionError(f"{done.stderr[-3000:]}\n{state}\n{said}")
            yield running
        finally:
            running.compose("down", "--volumes", "--timeout", "10")
            # What this run's images replaced; some gigabytes each time.
            for kind in ("image", "builder"):
                running.docker(kind, "prune", "--force")


def _free_ports() -> dict[str, int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    found = {name: one.getsockname()[1] for name, one in zip(PORTS, listening, strict=True)}
    for one in listening:
        one.close()
    return found


def _write_errands(project: Path) -> None:
    """Add a module with a job, a saga and a message, as a person does."""
    package = project / "src" / PACKAGE
    shutil.copy(Path(__file__).parent / "errands.py", package / "errands.py")
    for path, before, after in (
        (package / "app.py", "from .market import routes", "from . import errands\n{}"),
        (package / "app.py", "    return app", "    errands.include_in(app)\n{}"),
        (package / "__main__.py", f'"{PACKAGE}.market"', f'{{}}, "{PACKAGE}.errands"'),
        (
            project / "migrations/env.py",
            f"from {PACKAGE}.market",
            f"import {PACKAGE}.errands\n{{}}",
        ),
    ):
        text = path.read_text(encoding="utf-8")
        assert before in text, path
        path.write_text(text.replace(before, after.format(before), 1), encoding="utf-8")


def _settle(project: Path, cache: Path, ports: dict[str, int]) -> None:
    """Lock, write the migration and `.env`, as a person does before the first deployment."""
    cache.mkdir(parents=True, exist_ok=True)
    environment = cache / "environment"
    own = clean_environment(
        UV_CACHE_DIR=cache / "uv",
        UV_PROJECT_ENVIRONMENT=environment,
        PYTHONPATH=project / "src",
        PATH=f"{environment / 'bin'}:{clean_environment()['PATH']}",
    )
    sync = ("sync", "--quiet", "--no-dev", "--group", "embedded", "--no-install-project")
    run(uv(), *sync, cwd=project, env=own)
    fetch_for(PYTHON, project, own)
    python = environment / "bin" / "python"
    # Alembic formats what it writes.
    run(uv(), "pip", "install", "--quiet", "--python", python, "ruff", cwd=project, env=own)
    program = (python, "-m", f"{PACKAGE}.data_layer")
    revision = ("alembic", "revision", "--autogenerate", "-m", "add errands")
    run(*program, "embedded", *revision, cwd=project, env=own)
    run(*program, "init", cwd=project, env=own)
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


def fetch_for(python: str, project: Path, environment: dict[str, str]) -> None:
    """Let uv's cache have what is locked, for a Python that this machine need not have."""
    with TemporaryDirectory() as folder:
        locked = Path(folder) / "requirements.txt"
        export = ("export", "--quiet", "--locked", "--no-dev", "--no-emit-project")
        run(uv(), *export, "--output-file", locked, cwd=project, env=environment)
        target = ("--python-version", python, "--only-binary", ":all:", "--target", folder)
        run(
            *(uv(), "pip", "install", "--quiet", *target, "--requirements", locked),
            cwd=project,
            env=environment,
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
