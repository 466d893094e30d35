"""What the project's git says about files; never changes anything."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from .errors import FilesError


def is_repository(project: Path) -> bool:
    """Whether git is there and the project is in a work tree of it."""
    try:
        done = _run(project, "rev-parse", "--is-inside-work-tree")
    except FileNotFoundError:
        return False
    return done.returncode == 0 and done.stdout.strip() == b"true"


def staged(project: Path, *folders: str) -> dict[str, int]:
    """The paths of the project that the next commit would hold, each with its size in git."""
    listed = _output(project, "ls-files", "-z", "--stage", "--", *folders)
    blobs = {}
    for record in listed.split(b"\0"):
        about, _, path = record.partition(b"\t")
        mode, _, rest = about.partition(b" ")
        if path and mode != b"160000":  # a submodule has no content here
            blobs[path.decode(errors="surrogateescape")] = rest.partition(b" ")[0]
    asked = b"".join(blob + b"\n" for blob in blobs.values())
    told = _output(project, "cat-file", "--batch-check=%(objectsize)", stdin=asked).split()
    return {path: int(size) for path, size in zip(blobs, told, strict=True)}


def ignored(project: Path, paths: Iterable[str]) -> set[str]:
    """Those of the paths that git would not take, whether they exist or not."""
    asked = b"".join(path.encode(errors="surrogateescape") + b"\0" for path in paths)
    done = _run(project, "check-ignore", "--no-index", "--stdin", "-z", stdin=asked)
    if done.returncode not in (0, 1):
        raise _refused(done)
    return {one.decode(errors="surrogateescape") for one in done.stdout.split(b"\0") if one}


def in_lfs(project: Path, paths: Iterable[str]) -> set[str]:
    """Those of the paths that .gitattributes gives to Git LFS."""
    asked = b"".join(path.encode(errors="surrogateescape") + b"\0" for path in paths)
    answer = _output(project, "check-attr", "-z", "--stdin", "filter", stdin=asked).split(b"\0")
    triples = zip(answer[0::3], answer[2::3], strict=False)
    return {path.decode(errors="surrogateescape") for path, value in triples if value == b"lfs"}


def _output(project: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = _run(project, *arguments, stdin=stdin)
    if done.returncode != 0:
        raise _refused(done)
    return done.stdout


def _run(project: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", *arguments], cwd=project, input=stdin, capture_output=True, check=False
    )


def _refused(done: subprocess.CompletedProcess[bytes]) -> FilesError:
    reason = " ".join(done.stderr.decode(errors="replace").split())
    return FilesError(f"git can't answer: {reason or done.args}")
