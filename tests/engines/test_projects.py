"""Installed projects do what their README promises, on a real PostgreSQL."""

import json
import os
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import projects
from tests.combinations import EVERYTHING, MINIMAL, MODULES, Combination
from tests.engines.conftest import install
from tests.projects import COMMAND, clean_environment, files, git, run
from tests.rendering.expected import expected_paths


def call(project: Path, *command: str, check: bool = True, **variables: str) -> str:
    """The output of a command of the project's own environment."""
    path = f"{project / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = run(
        *command,
        cwd=project,
        env=clean_environment(PATH=path, VIRTUAL_ENV=project / ".venv", **variables),
        check=check,
        timeout=2400,
    )
    return done.stdout + done.stderr


def assert_all_passed(output: str) -> None:
    """Every test ran: none was skipped, expected to fail or left with a warning."""
    # What a thread still says on stderr while the process ends comes behind it.
    lines = reversed(output.splitlines())
    closing = next(line for line in lines if re.search(r" in [\d.]+s", line))
    assert re.fullmatch(r"=* ?\d+ passed(, \d+ deselected)? in [\d.]+s.*", closing), output


# What migrates the project itself, so that it needs a server with all that the models declare.
MIGRATED = (
    "tests/market",
    "tests/data_layer/migrations/test_checks.py",
    "tests/data_layer/migrations/test_history.py",
)
# How the fixtures start, migrate and share a server is proved where they start an embedded one.
FIXTURES = "tests/data_layer/engines/test_fixtures.py"
TIMESERIES = "tests/data_layer/timeseries"
# Where nothing is beside the core: the two ends.
WHOLE = (Combination(), MINIMAL)
# It takes half a minute, and wants sessions at once: it is proved where nothing is beside the core.
AT_ONCE = "tests/market/test_routes.py::test_two_hundred_changes_at_once_lose_nothing"


def test_its_own_tests_pass_on_a_real_engine(
    combination: Combination, project: Path, server: str, timescaledb_server: str
) -> None:
    """Those of its modules and what migrates the project itself, in every combination.

    The core's own, which no answer changes, run where nothing is beside it and where everything is.
    """

    def passes(*arguments: str, on: str = server, migrated: bool = True) -> None:
        command = ("pytest", "-q", "--color=no", *arguments)
        variables = {"TEST_DATABASE_URL": on, "TEST_MIGRATIONS": str(int(migrated))}
        assert_all_passed(call(project, *command, check=True, **variables))

    if combination in WHOLE:
        passes()
        return
    modules = module_tests(combination)
    migrated = [path for path in MIGRATED if (project / path).exists()]
    if not timescaledb_server:
        passes(*migrated, *modules, "--deselect", AT_ONCE)
        return
    modules.remove(TIMESERIES)
    passes(*migrated, TIMESERIES, "--deselect", AT_ONCE, on=timescaledb_server)
    if combination == EVERYTHING:
        others = ["tests", *(f"--ignore={path}" for path in (*migrated, TIMESERIES, FIXTURES))]
    else:
        others = modules
    if others:
        passes(*others, migrated=False)


def module_tests(combination: Combination) -> list[str]:
    """The folders of the tests that the modules bring."""
    core = replace(combination, modules=())
    added = expected_paths(combination) - expected_paths(core)
    tests = (path.split("/") for path in added if path.startswith("tests/data_layer/"))
    return sorted({"/".join(parts[:3]) for parts in tests})


@pytest.fixture
def on_server(timescaledb_server: str) -> tuple[str, ...]:
    """TimescaleDB is not embedded, so the commands are given a server with it."""
    return ("--server", timescaledb_server) if timescaledb_server else ()


def test_the_story_is_told(
    combination: Combination, project: Path, on_server: tuple[str, ...]
) -> None:
    """`demo` needs no settings, makes a database of its own and leaves nothing behind."""
    before = files(project)
    output = call(project, COMMAND, "demo", *on_server)
    assert re.search(r"The (server and its data are|database is) removed\.", output)
    assert ("No story to tell" in output) == (not combination.example)
    assert files(project) == before


def test_a_new_project_passes_its_own_checklist(project: Path, on_server: tuple[str, ...]) -> None:
    """`init` writes the secrets, `embedded` gives a migrated server, `check` is green."""
    call(project, COMMAND, "init")
    try:
        settings = (project / ".env").read_text(encoding="utf-8")
        assert (project / ".env").stat().st_mode & 0o077 == 0
        password = re.search(r"^DATABASE_PASSWORD=(.{16,})$", settings, re.MULTILINE)
        assert password
        assert git("status", "--porcelain", cwd=project) == ""

        checks = f"{COMMAND} check --json && {COMMAND} check --markdown"
        report = call(project, COMMAND, "embedded", *on_server, "sh", "-c", checks)
        results, end = json.JSONDecoder().raw_decode(report, report.index("{"))
        verdicts = {check["id"]: check["verdict"] for check in results["checks"]}
        assert len(verdicts) >= 15
        assert set(verdicts.values()) <= {"passed", "advice"}
        assert "DL-PG-01" in report[end:]
        assert password[1].strip("'\"") not in report
    finally:
        (project / ".env").unlink()


def test_a_missing_setting_is_one_sentence(project: Path) -> None:
    done = run(
        project / ".venv" / "bin" / COMMAND,
        "check",
        cwd=project,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "DATABASE_URL" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="template-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# All that an embedded engine can serve.
EMBEDDED = Combination(modules=tuple(name for name in MODULES if name != "timescaledb"))

# PostgreSQL refuses to run as root, so what works for one may not work for the other.
USERS = {"whoever runs the tests": None} | (
    {"nobody": pwd.getpwnam("nobody")} if os.geteuid() == 0 else {}
)


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(user, id=name, marks=pytest.mark.xdist_group(name))
        for name, user in USERS.items()
    ],
)
def test_finds_an_engine_by_itself(
    template: Path, shared_folder: Path, user: pwd.struct_passwd | None
) -> None:
    """Without TEST_DATABASE_URL: root in a container, and a person at home."""
    home = shared_folder / "home"
    home.mkdir()
    project = projects.render(template, shared_folder / "project", **EMBEDDED.answers())
    ids = (user.pw_uid, user.pw_gid) if user else None
    if user:
        install(project, UV_PYTHON=python_of_everybody(user), UV_LINK_MODE="copy")
        for path in (home, project, *project.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    else:
        install(project)
    # A folder of the PATH that is closed to a user turns "not found" into "permission denied".
    folders = os.defpath if user else os.environ["PATH"]
    environment = clean_environment(
        HOME=home,
        PATH=f"{project / '.venv' / 'bin'}{os.pathsep}{folders}",
        VIRTUAL_ENV=project / ".venv",
    )
    # Who runs it makes a difference to the engine and to the commands, and to nothing else.
    tests = run(
        *("pytest", "-q", "--color=no", "-n", "2"),
        *("tests/data_layer/engines", "tests/data_layer/cli"),
        cwd=project,
        env=environment,
        user=ids,
        timeout=2400,
    )
    assert_all_passed(tests.stdout + tests.stderr)
    run(COMMAND, "demo", cwd=project, env=environment, user=ids)


def python_of_everybody(user: pwd.struct_passwd) -> str:
    """A Python that this user may run too: one in root's home is closed to others."""
    base = Path(sys.base_prefix) / "bin" / "python3"
    candidates = [base, Path("/usr/bin/python3"), Path("/usr/local/bin/python3")]
    for candidate in filter(Path.exists, candidates):
        try:
            probed = run(
                *(candidate, "-c", "import sys, venv; sys.exit(sys.version_info < (3, 11))"),
                cwd=Path("/"),
                user=(user.pw_uid, user.pw_gid),
                check=False,
            )
        except PermissionError:
            continue
        if probed.returncode == 0:
            return str(candidate)
    raise AssertionError(f"no Python that {user.pw_name} may run among {candidates}")
