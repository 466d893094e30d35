"""Rendering the template as a person would get it, and running commands in what comes out."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import copier

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

PROJECT_NAME = "My Project"
PACKAGE = "my_project"
COMMAND = "my-project"

# What a developer's shell may hold and a rendered project must not see.
FOREIGN = (
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    # Where nothing compiled is kept, each process compiles all that it imports: seconds.
    "PYTHONDONTWRITEBYTECODE",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
)
FOREIGN_PREFIXES = (
    "BACKUP_",
    "DATABASE_",
    "TEST_",
    "POSTGRES_",
    "PG",
    "FILES_",
    "DUCKDB_",
    "REDIS_",
    "PYTEST_",
    "COMPOSE_",
    "GIT_",
    "OTEL_",
    "SEND_",
)


def clean_environment(**variables: str | Path) -> dict[str, str]:
    """The environment of this process without what belongs to it alone, and with `variables`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN and (not name.startswith(FOREIGN_PREFIXES) or "SSL" in name)
    }
    return kept | {name: str(value) for name, value in variables.items()}


def run(
    *command: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = 600,
    user: tuple[int, int] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `command`, its output captured; a failure shows the output in the test's report.

    `user` is the user id and group id to run as; only root can.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment() if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        user=user[0] if user else None,
        group=user[1] if user else None,
        extra_groups=[] if user else None,
    )
    if check and done.returncode != 0:
        shown = " ".join(str(part) for part in command)
        raise AssertionError(
            f"`{shown}` in {cwd} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done


def uv() -> str:
    """The uv that runs these tests: `uv run` names itself in UV."""
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        raise RuntimeError("There is no uv; run the tests with `make test`, which brings it.")
    return found


def git(*arguments: str | Path, cwd: Path) -> str:
    """Run git as a person who has set nothing but a name."""
    identity = {
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    command = ("git", "-c", "init.defaultBranch=main", "-c", "core.autocrlf=false", *arguments)
    return run(*command, cwd=cwd, env=clean_environment(**identity)).stdout


def commit_all(repository: Path, message: str) -> None:
    """Record everything in `repository`, which becomes one if it is none yet."""
    if not (repository / ".git").exists():
        git("init", "--quiet", cwd=repository)
    git("add", "--all", cwd=repository)
    git("commit", "--quiet", "--allow-empty", "--message", message, cwd=repository)


def render(template: Path, destination: Path, **answers: object) -> Path:
    """Render `template` as `copier copy --defaults` does, without trust in it."""
    copier.run_copy(
        str(template),
        destination,
        data={"project_name": PROJECT_NAME, **answers},
        defaults=True,
        quiet=True,
        unsafe=False,
        vcs_ref="HEAD" if (template / ".git").exists() else None,
    )
    return destination


def clear(project: Path) -> None:
    """Take everything out of a folder but the environment, which `uv sync` brings up to date."""
    project.mkdir(parents=True, exist_ok=True)
    for left in project.iterdir():
        if left.is_dir() and left.name != ".venv":
            shutil.rmtree(left)
        elif not left.is_dir():
            left.unlink()


def files(project: Path) -> dict[str, bytes]:
    """Every file of `project` by its path, without git's own and what tools leave behind."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and not IGNORED.intersection(path.relative_to(project).parts)
    }


IGNORED = frozenset(
    {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "uv.lock"}
)


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """One worker at a time; the others wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def shared_environment(project: Path) -> Path:
    """The environment with all that `project` depends on, without `project` itself.

    It stays between runs, so that a warm run resolves but installs nothing.
    """
    environment = CACHE / "environment"
    with locked(CACHE / "environment.lock"):
        run(
            *(uv(), "sync", "--quiet", "--no-install-project"),
            cwd=project,
            env=clean_environment(UV_PROJECT_ENVIRONMENT=environment),
        )
    return environment
