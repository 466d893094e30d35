"""Making `.env` from `.env.example`: generated secrets, readable by its owner alone."""

import io
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# pydantic-settings reads `.env` with this parser, and installs it.
from dotenv.parser import Binding, parse_stream

from . import git
from .atomic import replacing
from .errors import DataLayerError

# A text that the settings (by python-dotenv) and docker compose (by its own parser) read alike.
_READ_ALIKE = re.compile(
    r"""
    \s* (?:export[ \t]+)? [A-Z_][A-Z0-9_]* [ \t]*=[ \t]*
    (?:
        (?: '(?:[^'\\$]|\\(?![\\'])|\$(?!\{))*' | "(?:[^"\\$]|\\[\\"nt])*" ) (?:[ \t]*\#.*)?
      | (?![\s'"\#]) (?:(?![^\S ]\#)[^$\n])*? (?:[ ]\#.*)?
    )?
    \s*
    """,
    re.VERBOSE,
)

_SECRETS = ("_PASSWORD", "_SECRET")


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` did: the names of the variables, never their values.

    Attributes:
        created: there was no `.env` before.
        generated: secrets that were empty or absent and have a value now.
        added: further variables that `.env` lacked.
    """

    created: bool
    generated: tuple[str, ...]
    added: tuple[str, ...]


def write(project: Path, *, new: Mapping[str, str] | None = None) -> Written:
    """Complete `.env` of the project from its `.env.example`; what is set stays as it is.

    Every `…_PASSWORD` and `…_SECRET` without a value gets 256 random bits. The file is replaced
    in one step, with mode 0600. Serves DL-PG-05 and DL-OPS-01.

    Args:
        project: the folder of both files.
        new: the variables that a newly created `.env` begins with.

    Raises:
        DataLayerError: there is no example, git does not ignore `.env`, or a file can't be read.
    """
    example, target = project / ".env.example", (project / ".env").resolve()
    if not example.is_file():
        raise DataLayerError(f"{example} is missing; restore it with `git checkout .env.example`.")
    if reason := why_git_would_take(project):
        raise DataLayerError(f"{reason} Nothing was written.")
    created = not target.exists()
    template = read(example)
    present = template if created else read(target)
    names = _names(present)
    missing = [one for one in template if _names([one]) - names]
    filled = [_with_secret(one) for one in (*present, *missing)]
    generated = tuple(name for _, name in filled if name)
    if created or missing or generated:
        with replacing(target) as part:
            part.chmod(0o600)  # before the first secret is in it
            first = [f"{name}={value}\n" for name, value in (new or {}).items() if created]
            text = "".join([*first, *(text for text, _ in filled)])
            part.write_text(text, encoding="utf-8", newline="\n")
    elif target.stat().st_mode & 0o077:
        target.chmod(0o600)
    added = tuple(one.key for one in missing if one.key and one.key not in generated)
    return Written(created, generated, added)


def read(file: Path) -> list[Binding]:
    """The assignments, comments and blank lines of a file, each with its text.

    Raises:
        DataLayerError: the file can't be read, or the application and docker compose, each by its
            own parser, would find different values in it.
    """
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError:
        raise DataLayerError(f"{file} is not UTF-8; save it as UTF-8.") from None
    except OSError as error:
        raise DataLayerError(f"{file} can't be read: {error.strerror}.") from None
    if text.startswith("\ufeff"):
        raise DataLayerError(f"{file} begins with a byte order mark; save it as UTF-8 without one.")
    bindings = list(parse_stream(io.StringIO(text, newline="")))
    names: set[str] = set()
    for one in bindings:
        whole = one.original.string
        line = one.original.line + whole[: -len(whole.lstrip()) or None].count("\n")
        if one.error or not _is_read_alike(one):
            raise DataLayerError(
                f"The application and docker compose would not read line {line} of {file} alike; "
                "write it as NAME='value': the name in capitals, and a value without ' and ${."
            )
        if one.key in names:
            raise DataLayerError(f"{file} sets {one.key} again in line {line}; keep one of them.")
        if one.key:
            names.add(one.key)
    return bindings


def _is_read_alike(binding: Binding) -> bool:
    text = binding.original.string.replace("\r\n", "\n")
    if binding.key is None:
        return "\r" not in text
    # Refuse what only one parser takes for a space or an end of line, and invisible characters.
    plain = text.replace("\n", "").replace("\t", "").isprintable()
    return plain and "\r" not in (binding.value or "") and bool(_READ_ALIKE.fullmatch(text))


def _names(bindings: list[Binding]) -> set[str]:
    return {one.key for one in bindings if one.key}


def _is_secret(binding: Binding) -> bool:
    return binding.key is not None and binding.key.endswith(_SECRETS)


def _with_secret(binding: Binding) -> tuple[str, str]:
    """The text and, when its empty secret was filled in, the name of the secret."""
    text = binding.original.string
    text += "" if text.endswith("\n") else "\n"
    if binding.key is None or binding.value or not _is_secret(binding):
        return text, ""
    name = text.partition("=")[0].rstrip()
    return f"{name}={secrets.token_urlsafe(32)}\n", binding.key


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
