"""What an update of the template has left to do: conflicts, rejected hunks, edited answers.

Nothing here needs more than the standard library, so that it answers when nothing else can.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .. import git
from ..project import ADOPTED

# A project that adopted the layer may have another template, which uses the other name.
ANSWERS = ".copier-answers.data-layer.yml" if ADOPTED else ".copier-answers.yml"
UPDATE = f"copier update -a {ANSWERS}" if ADOPTED else "copier update"
_MARKER = re.compile(rb"^(?:<{7}|>{7}|\|{7})(?: |\r?$)", re.MULTILINE)
# Where no update writes.
_SKIPPED = {".git", ".venv", "node_modules"}


def unfinished(project: Path) -> list[str]:
    """A sentence for each file that an update could not merge, and what to do."""
    found = [
        f"{path} is not merged in git's index: resolve it, then `git add {path}`."
        for path in _listed(project, "--unmerged", "--format=%(path)")
    ]
    found += [
        f"{name} holds what an update could not merge: do it by hand, then delete the file."
        for name in _rejected(project)
    ]
    return found + [
        f"{name}:{line} holds a conflict: choose a side, and delete the marks."
        for name in _listed(project, "--cached", "--others", "--exclude-standard")
        if (line := _conflict(project / name))
    ]


def _listed(project: Path, *arguments: str) -> list[str]:
    """Paths that git lists; none where there is no git, since no update runs there either."""
    if not git.is_repository(project):
        return []
    listed = git.answer(project, "ls-files", "-z", *arguments).split("\0")
    return sorted({path for path in listed if path})


def _rejected(project: Path) -> Iterator[str]:
    """The files that Copier leaves beside those that it could not merge; git may ignore them."""
    for folder, folders, names in os.walk(project):
        here = Path(folder)
        folders[:] = sorted({*folders} - _SKIPPED - ({"data"} if here == project else set()))
        for name in sorted(names):
            if name.endswith((".rej", ".orig")):
                yield (here / name).relative_to(project).as_posix()


def _conflict(path: Path) -> int:
    """The line of the first mark of a conflict; 0 where there is none."""
    try:
        content = b"" if path.is_symlink() else path.read_bytes()
    except OSError:
        return 0
    found = _MARKER.search(content)
    return content.count(b"\n", 0, found.start()) + 1 if found else 0


def edited_answers(project: Path) -> str:
    """Why the answers can't be trusted; empty when they are what Copier wrote."""
    file = project / ANSWERS
    if not file.is_file():
        return f"{ANSWERS} is missing, so nothing can be updated: `git checkout {ANSWERS}`."
    text = file.read_text(encoding="utf-8")
    recorded = re.search(r"^# sha256: ([0-9a-f]{64})$", text, re.MULTILINE)
    if recorded and recorded[1] != digest(text):
        return (
            f"{ANSWERS} was edited by hand, so the next update would merge against a project "
            f"that never was: `git checkout` the last version that Copier wrote, and change an "
            f"answer with `{UPDATE} -d name=value`."
        )
    return ""


def digest(answers: str) -> str:
    """The hash of the answers, without `_src_path`: the template may move to another place."""
    told = re.sub(r"^#.*\n", "", answers, flags=re.MULTILINE)
    told = re.sub(r"^_src_path:.*\n(?: .*\n)*", "", told, flags=re.MULTILINE)
    return hashlib.sha256(told.encode()).hexdigest()
