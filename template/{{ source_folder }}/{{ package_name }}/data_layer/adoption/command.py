"""The command `adopt`, which answers before anything is installed."""

import sys
from pathlib import Path

from ..modules.update import ANSWERS
from .page import PAGE, missing


def adopt() -> int:
    """Print what is missing; returns the exit code: 1 while something is, 2 without a project."""
    here = Path.cwd()
    project = next(
        (folder for folder in (here, *here.parents) if (folder / ANSWERS).is_file()), None
    )
    if project is None:
        sys.stderr.write(f"No {ANSWERS} in {here} or any folder above it; go into the project.\n")
        return 2
    if not (project / PAGE).is_file():
        sys.stderr.write(f"{PAGE} is missing, which says what is needed: `git checkout {PAGE}`.\n")
        return 2
    found = list(missing(project))
    for sentence in found:
        sys.stdout.write(f"- {sentence}\n")
    if found:
        sys.stdout.write(f"{len(found)} of these are missing; {PAGE} has them to copy.\n")
        return 1
    sys.stdout.write("Nothing is missing.\n")
    return 0
