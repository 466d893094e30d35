"""Making `.env` from `.env.example`: generated secrets, readable by its owner alone."""

import os
import re
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import git
from .errors import DataLayerError

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=(?P<value>.*)$")
_SECRET = re.compile(r"_(PASSWORD|SECRET)$")
_TELLING = 8  # shorter values turn up in any file by chance
_EMPTY = re.compile(r"^\s*(''|\"\")?\s*(#.*)?$")


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` did, by the names of the variables; never their values.

    Attributes:
        created: there was no `.env` before.
        generated: secrets that were empty or absent and have a value now.
        added: further variables that `.env` lacked.
    """

    created: bool
    generated: tuple[str, ...]
    added: tuple[str, ...]


def write(project: Path) -> Written:
    """Complete `.env` of the project from its `.env.example`; what is set stays as it is.

    Every `…_PASSWORD` and `…_SECRET` without a value gets 256 random bits. The file is replaced
    in one step, with mode 0600. Serves DL-PG-05 and DL-OPS-01.

    Raises:
        DataLayerError: there is no example, or git does not ignore `.env`.
    """
    example, target = project / ".env.example", (project / ".env").resolve()
    if not example.is_file():
        raise DataLayerError(f"{example} is missing; restore it with `git checkout .env.example`.")
    if reason := why_git_would_take(project):
        raise DataLayerError(f"{reason} Nothing was written.")
    created = not target.exists()
    lines = (example if created else target).read_text(encoding="utf-8").splitlines()
    present = {match["name"] for line in lines if (match := _ASSIGNMENT.match(line))}
    missing = [
        line
        for line in example.read_text(encoding="utf-8").splitlines()
        if (match := _ASSIGNMENT.match(line)) and match["name"] not in present
    ]
    filled = [_with_secret(line) for line in [*lines, *missing]]
    generated = tuple(name for _, name in filled if name)
    if created or missing or generated:
        _replace(target, "".join(f"{line}\n" for line, _ in filled))
    elif target.stat().st_mode & 0o077:
        target.chmod(0o600)
    names = [match["name"] for line in missing if (match := _ASSIGNMENT.match(line))]
    return Written(created, generated, tuple(name for name in names if name not in generated))


def why_git_would_take(project: Path) -> str:
    """Why `.env` could end up in the repository; empty when git ignores it and tracks none."""
    if git.ask(project, "ls-files", "--error-unmatch", ".env").returncode == 0:
        return "git tracks .env; type `git rm --cached .env`, and replace every secret in it."
    ignored = git.ask(project, "check-ignore", "--quiet", ".env").returncode
    if ignored not in (0, 1):  # no repository, or no git: the file that a repository will read
        ignore_file = project / ".gitignore"
        rules = ignore_file.read_text(encoding="utf-8").split() if ignore_file.is_file() else []
        ignored = 0 if {".env", "/.env", ".env*"} & set(rules) else 1
    return "" if ignored == 0 else "git does not ignore .env; add the line `.env` to .gitignore."


def tracked_files_with_secrets(project: Path) -> list[str]:
    """The tracked files that hold, letter by letter, a secret of `.env`."""
    env = project / ".env"
    if not env.is_file():
        return []
    secret_values = [
        value
        for line in env.read_text(encoding="utf-8").splitlines()
        if (match := _ASSIGNMENT.match(line))
        and _SECRET.search(match["name"])
        and len(value := match["value"].strip().strip("'\"")) >= _TELLING
    ]
    if not secret_values:
        return []
    # On stdin: arguments can be read by everybody on the machine.
    found = git.ask(
        project,
        "grep",
        "--cached",
        "--files-with-matches",
        "--fixed-strings",
        "-f",
        "-",
        stdin="".join(f"{value}\n" for value in secret_values),
    )
    return found.stdout.splitlines() if found.returncode == 0 else []


def _with_secret(line: str) -> tuple[str, str]:
    """The line and, when its empty secret was filled in, the name of that."""
    match = _ASSIGNMENT.match(line)
    if match is None or not _SECRET.search(match["name"]) or not _EMPTY.match(match["value"]):
        return line, ""
    return f"{line[: match.start('value')]}{secrets.token_urlsafe(32)}", match["name"]


def _replace(target: Path, text: str) -> None:
    # The new file has mode 0600 from its first byte; the old one is whole until the rename.
    descriptor, name = tempfile.mkstemp(prefix=".env.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
