"""Secrets in the files that git tracks: those of `.env`, and texts with the shape of a secret."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from . import dotenv, git

# A variable of `.env` whose name matches this holds a secret.
_SECRET = re.compile("(PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIALS?|(?<!PUBLIC_)KEY)$")
_TELLING = 8  # shorter values turn up in any file by chance

# In the syntax of `git grep -E`; the last one is a URL with a long password.
_SHAPES = (
    "(^|[^A-Za-z0-9])(AKIA|ASIA)[A-Z0-9]{16}",
    "(aws_secret_access_key|AWS_SECRET_ACCESS_KEY)['\" ]*[:=]['\" ]*[A-Za-z0-9/+]{40}",
    "AccountKey=[A-Za-z0-9+/]{86}==",
    "AIza[A-Za-z0-9_-]{35}",
    "gh[pousr]_[A-Za-z0-9]{36}",
    "github_pat_[A-Za-z0-9_]{82}",
    "glpat-[A-Za-z0-9_-]{20}",
    "xox[abprs]-[A-Za-z0-9-]{10,}",
    "(sk|rk)_live_[A-Za-z0-9]{24,}",
    "sk-(ant|proj)-[A-Za-z0-9_-]{20,}",
    "-----BEGIN ([A-Z]+ )*PRIVATE KEY-----",
    "[a-z][a-z0-9+]+://[^]@:/[ <>{}$\"'`]*:[^]@:/[ <>{}$\"'`]{12,}@",
)
_PASSWORD_OF_URL = re.compile("://[^:]*:(.+)@")


def files_with_secrets(project: Path) -> list[str]:
    """The tracked files that repeat a secret of `.env`, or hold a cloud key or a URL's password.

    The files are read as git has them, without their history. A key with the word `EXAMPLE` is
    taken for documentation, and so is a URL's password without a digit or with the word "password".

    Raises:
        DataLayerError: `.env` can't be read, or git can't tell what it tracks.
    """
    if not git.is_repository(project):
        return []
    env = project / ".env"
    secrets = sorted(set(_secrets_of(env))) if env.is_file() else []
    # On stdin, since everybody on the machine can read the arguments.
    repeated = _matches(project, ["--fixed-strings", "-f", "-"], "\n".join(secrets))
    patterns = [part for shape in _SHAPES for part in ("-e", shape)]
    shaped = _matches(project, ["--extended-regexp", *patterns])
    return sorted(
        {name for name, _ in repeated} | {name for name, found in shaped if _is_secret(found)}
    )


def _secrets_of(env: Path) -> Iterator[str]:
    for one in dotenv.read(env):
        values = [one.value or ""] if one.key and _SECRET.search(one.key) else []
        if "://" in (one.value or ""):
            password = urlsplit(one.value or "").password or ""
            values += [password, unquote(password)]
        for value in values:
            yield from (line for line in value.splitlines() if len(line) >= _TELLING)


def _matches(project: Path, patterns: list[str], stdin: str = "") -> Iterator[tuple[str, str]]:
    """The name of each file in which something matches, and the matching text."""
    if patterns[-1] == "-" and not stdin:
        return
    options = ["--cached", "-I", "--null", "--only-matching"]
    nothing = 1
    found = git.answer(project, "grep", *options, *patterns, stdin=stdin, codes=(0, nothing))
    for line in found.splitlines():
        name, _, match = line.partition("\0")
        yield name, match


def _is_secret(found: str) -> bool:
    in_url = _PASSWORD_OF_URL.search(found)
    if in_url is None:
        return "EXAMPLE" not in found.upper()
    password = unquote(in_url[1]).lower()
    return bool(re.search("[0-9]", password) and re.search("[a-z]", password)) and (
        "password" not in password
    )
