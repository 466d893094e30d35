"""Installed projects do what their README promises, on a real PostgreSQL."""

import json
import os
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import projects
from tests.combinations import MODULES, Combination, choices
from tests.deep import put_into
from tests.engines import debian
from tests.engines.conftest import COMBINATIONS, install
from tests.interpreters import interpreters
from tests.projects import COMMAND, clean_environment, files, git, run

# All that an embedded engine can serve.
EMBEDDED = Combination(modules=tuple(name for name in MODULES if name != "timescaledb"))


def call(project: Path, *command: str, check: bool = True, **variables: str) -> str:
    """The output of a command of the project's own environment."""
    path = f"{project / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = run(
        *command,
        cwd=project,
        env=clean_environment(
            PATH=path,
            VIRTUAL_ENV=project / ".venv",
            # What another project had too stays compiled.
            PYTHONPYCACHEPREFIX=project.parent / "compiled",
            **variables,
        ),
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


@pytest.fixture(scope="session")
def on_server(combination: Combination, server: str, timescaledb_server: str) -> tuple[str, ...]:
    """What tells a command which server to use: none for some, which start one of their own.

    TimescaleDB is not embedded, so its projects are always given a server with it.
    """
    given = timescaledb_server or ("" if combination.modules in STARTED else server)
    return ("--server", given) if given else ()


# The launcher is the same file in all.
STARTED = ((), EMBEDDED.modules)


def test_every_python_runs_projects() -> None:
    """A project of a version that is not to be had runs on another; Linux can have all."""
    wanted = choices("python_version") if debian.available() else list(interpreters())
    assert sorted({one.python_version for one in COMBINATIONS}) == wanted


def test_the_story_is_told(
    combination: Combination, project: Path, on_server: tuple[str, ...]
) -> None:
    """`demo` needs no settings, makes a database of its own and leaves nothing behind."""
    before = files(project)
    output = call(project, COMMAND, "demo", *on_server)
    assert re.search(r"The (server and its data are|database is) removed\.", output)
    assert ("No story to tell" in output) == (not combination.example)
    told = " ".join(output.split())
    for end in ("every cent is right.", "their sum is the same."):
        assert (end in told) == combination.example
    assert re.search(r"\d+ checks: .* 0 failed; every required check holds\.", told)
    assert files(project) == before


@pytest.fixture(scope="session")
def configured(project: Path) -> Path:
    """The project with the settings that `init` writes: what comes later runs beside them.

    One of each set of modules; `demo` shows the checklist of all, without settings.
    """
    call(project, COMMAND, "init")
    return project


def test_a_new_project_passes_its_own_checklist(
    configured: Path, on_server: tuple[str, ...]
) -> None:
    """`init` writes the secrets, `embedded` gives a migrated server, `check` is green."""
    settings = (configured / ".env").read_text(encoding="utf-8")
    assert (configured / ".env").stat().st_mode & 0o077 == 0
    password = re.search(r"^DATABASE_PASSWORD=(.{16,})$", settings, re.MULTILINE)
    assert password
    assert git("status", "--porcelain", cwd=configured) == ""

    report = call(configured, COMMAND, "embedded", *on_server, COMMAND, "check", "--json")
    results, _ = json.JSONDecoder().raw_decode(report, report.index("{"))
    verdicts = {check["id"]: check["verdict"] for check in results["checks"]}
    assert len(verdicts) >= 15
    assert set(verdicts.values()) <= {"passed", "advice"}
    assert password[1].strip("'\"") not in report


def test_its_own_tests_pass_on_a_real_engine(
    project: Path, server: str, timescaledb_server: str
) -> None:
    """All that were rendered into it, as its owner runs them: before `init`, or after it."""
    url = timescaledb_server or server
    assert_all_passed(call(project, "pytest", "-q", "--color=no", TEST_DATABASE_URL=url))


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="template-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_person_finds_an_engine_by_itself(template: Path, shared_folder: Path) -> None:
    """PostgreSQL refuses to run as root, so what works for root may not work for a person.

    What root finds, if it is root who runs these tests, tests/engines/test_layer.py has seen.
    """
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    home = shared_folder / "home"
    home.mkdir()
    project = projects.render(template, shared_folder / "project", **EMBEDDED.answers())
    put_into(project, EMBEDDED)
    install(project, UV_PYTHON=python_of_everybody(user), UV_LINK_MODE="copy")
    if os.geteuid() == 0:
        for path in (home, project, *project.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    # A folder of the PATH that is closed to a user turns "not found" into "permission denied".
    environment = clean_environment(
        HOME=home,
        PATH=f"{project / '.venv' / 'bin'}{os.pathsep}{os.defpath}",
        VIRTUAL_ENV=project / ".venv",
    )
    ids = (user.pw_uid, user.pw_gid) if os.geteuid() == 0 else None
    # Who runs it makes a difference to the engine and to the commands, and to nothing else. The
    # hosted CI runs all as a person.
    commands = ("tests/layer/cli",) if "TEST_LONG" in os.environ else ()
    tests = run(
        *("pytest", "-q", "--color=no", "tests/layer/devservers", *commands),
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
