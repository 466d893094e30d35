"""Run PostgreSQL's programs and pgBackRest: where they are, as which user, and what they print."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import URL

from .errors import RecoveryError
from .progress import progress
from .settings import BackupSettings


def program(settings: BackupSettings, name: str) -> str:
    """The path of one of PostgreSQL's programs.

    Raises:
        RecoveryError: it is not installed.
    """
    folder = settings.postgres_bin
    found = shutil.which(name, path=None if folder is None else str(folder))
    if found is None:
        raise RecoveryError(
            f"{name} is not in {folder or 'the PATH'}; install those of the server's "
            "version, and name their folder in BACKUP_POSTGRES_BIN."
        )
    return found


def account(settings: BackupSettings) -> dict[str, Any]:
    """The arguments of `subprocess` that run a program as the server's user, if root calls.

    Raises:
        RecoveryError: root runs this, and there is no such user.
    """
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam(settings.system_user)
    except KeyError:
        raise RecoveryError(
            f"PostgreSQL refuses to run as root, and there is no user {settings.system_user}; name "
            "the server's in BACKUP_SYSTEM_USER."
        ) from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def hand_over(folder: Path, owner: Mapping[str, Any]) -> None:
    """Give the files that root wrote to the `account` of the server."""
    if owner:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner["user"], owner["group"], follow_symlinks=False)


def last_lines(said: str) -> str:
    """The last lines that a program printed, as one line."""
    return " ".join(" ".join(said.splitlines()[-4:]).split())


def run(
    command: Sequence[str | Path],
    doing: str,
    *,
    env: Mapping[str, str] | None = None,
    user: Mapping[str, Any] | None = None,
    reason: Callable[[str], str] = last_lines,
) -> str:
    """Run a program, and return what it wrote to stdout.

    Args:
        command: the program and its arguments; no secret may be among them.
        doing: the words for the work, shown while the program runs and when it fails.
        env: variables beside those of this process.
        user: an `account` to run as.
        reason: finds in the output of a program why it failed.

    Raises:
        RecoveryError: it can't be run, or it failed; with the `reason`.
    """
    words = [str(part) for part in command]
    with progress(doing):
        try:
            done = subprocess.run(
                words,
                env=clean_environment() | dict(env or {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                **(user or {}),
            )
        except OSError as error:
            raise RecoveryError(f"{words[0]} can't be run: {error.strerror}.") from None
    if done.returncode:
        said = reason(done.stderr.strip() or done.stdout.strip())
        raise RecoveryError(f"{doing} failed: {said or 'no reason'}")
    return str(done.stdout)


def clean_environment() -> dict[str, str]:
    """This process's variables without those that would lead a program to another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def libpq(url: URL) -> tuple[str, dict[str, str]]:
    """The connection string without its password, and the variable that holds the password."""
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    parts = conninfo_to_dict(text)
    password = parts.pop("password", None)
    return make_conninfo("", **parts), {"PGPASSWORD": str(password)} if password else {}
