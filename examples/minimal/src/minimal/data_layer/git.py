"""Ask git about the project; nothing here changes anything."""

import os
import subprocess
from pathlib import Path

from .errors import DataLayerError


class GitRefused(DataLayerError):
    """git can't answer, for example since another user owns the repository."""


def ask(project: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run git in the project and return its answer; without git on the machine, the code is 127.

    Paths that are not UTF-8 are given and returned as Python writes them, with surrogates.
    """
    command = ["git", *arguments]
    try:
        return subprocess.run(
            command,
            cwd=project,
            env=os.environ | {"LC_ALL": "C"},  # `is_repository` reads git's messages
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", "git is not installed")


def answer(project: Path, *arguments: str, stdin: str = "", codes: tuple[int, ...] = (0,)) -> str:
    """What git prints.

    Raises:
        GitRefused: git ends with a code that is not one of `codes`.
    """
    done = ask(project, *arguments, stdin=stdin)
    if done.returncode not in codes:
        reason = " ".join(done.stderr.split()).removeprefix("fatal: ")
        raise GitRefused(f"git can't answer about {project}: {reason or done.args}.")
    return done.stdout


def is_repository(project: Path) -> bool:
    """Whether git is installed and the project is in a work tree of git.

    Raises:
        GitRefused: git refuses to look into the project, for example since another user owns it.
    """
    done = ask(project, "rev-parse", "--is-inside-work-tree")
    if done.returncode not in (0, 127) and "not a git repository" not in done.stderr:
        raise GitRefused(f"git does not look into {project}: {' '.join(done.stderr.split())}")
    return done.stdout.strip() == "true"
