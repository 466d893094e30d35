"""What the project's git says about files; never changes anything."""

import io
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import FilesError

# What git holds of a file that Git LFS keeps; its specification allows 1,024 bytes.
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(.*\n)*size ([0-9]+)\n")
_LONGEST_POINTER = 1024


class Staged(NamedTuple):
    """A file as the next commit would hold it.

    Attributes:
        size: of its content in bytes, wherever that is kept.
        in_lfs: whether Git LFS keeps it, and git a pointer to it.
    """

    size: int
    in_lfs: bool


def is_repository(project: Path) -> bool:
    """Whether git is there and the project is in a work tree of it.

    Raises:
        FilesError: it is, but git does not want to look, as where another user owns it.
    """
    try:
        done = _run(project, "rev-parse", "--is-inside-work-tree")
    except FileNotFoundError:
        return False
    if done.returncode != 0 and b"not a git repository" not in done.stderr:
        raise _refused(done)
    return done.returncode == 0 and done.stdout.strip() == b"true"


def staged(project: Path, *folders: str) -> dict[str, Staged]:
    """The paths of the project that the next commit would hold."""
    listed = _output(project, "ls-files", "-z", "--stage", "--", *folders)
    blobs = {}
    for record in listed.split(b"\0"):
        about, _, path = record.partition(b"\t")
        mode, _, rest = about.partition(b" ")
        if path and mode != b"160000":  # a submodule has no content here
            blobs[path.decode(errors="surrogateescape")] = rest.partition(b" ")[0]
    asked = b"".join(blob + b"\n" for blob in blobs.values())
    told = _output(project, "cat-file", "--batch-check=%(objectsize)", stdin=asked).splitlines()
    if len(told) != len(blobs) or not all(size.isdigit() for size in told):
        raise FilesError("git lacks contents that its index names; `git fsck` says which.")
    sizes = {path: int(size) for path, size in zip(blobs, told, strict=True)}
    short = [path for path, size in sizes.items() if size <= _LONGEST_POINTER]
    given = _given_to_lfs(project, short)
    contents = _contents(project, [blobs[path] for path in given])
    kept = {
        path: int(pointer[2])
        for path, content in zip(given, contents, strict=True)
        if (pointer := _POINTER.fullmatch(content))
    }
    return {path: Staged(kept.get(path, size), path in kept) for path, size in sizes.items()}


def ignored(project: Path, paths: Iterable[str]) -> set[str]:
    """Those of the paths that git would not take, whether they exist or not."""
    asked = b"".join(path.encode(errors="surrogateescape") + b"\0" for path in paths)
    done = _run(project, "check-ignore", "--no-index", "--stdin", "-z", stdin=asked)
    if done.returncode not in (0, 1):
        raise _refused(done)
    return {one.decode(errors="surrogateescape") for one in done.stdout.split(b"\0") if one}


def _given_to_lfs(project: Path, paths: Iterable[str]) -> list[str]:
    """Those of the paths that .gitattributes gives to Git LFS, whether it is installed or not."""
    asked = b"".join(path.encode(errors="surrogateescape") + b"\0" for path in paths)
    answer = _output(project, "check-attr", "-z", "--stdin", "filter", stdin=asked).split(b"\0")
    triples = zip(answer[0::3], answer[2::3], strict=False)
    return [path.decode(errors="surrogateescape") for path, value in triples if value == b"lfs"]


def _contents(project: Path, blobs: Iterable[bytes]) -> Iterator[bytes]:
    asked = b"".join(blob + b"\n" for blob in blobs)
    told = io.BytesIO(_output(project, "cat-file", "--batch=%(objectsize)", stdin=asked))
    while size := told.readline():
        yield told.read(int(size))
        told.readline()


def _output(project: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = _run(project, *arguments, stdin=stdin)
    if done.returncode != 0:
        raise _refused(done)
    return done.stdout


def _run(project: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", *arguments],
        cwd=project,
        env=os.environ | {"LC_ALL": "C"},
        input=stdin,
        capture_output=True,
        check=False,
    )


def _refused(done: subprocess.CompletedProcess[bytes]) -> FilesError:
    reason = " ".join(done.stderr.decode(errors="replace").split())
    return FilesError(f"git can't answer: {reason or done.args}")
