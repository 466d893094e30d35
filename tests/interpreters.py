"""The versions of Python that the tests can run projects with."""

import os
from functools import cache
from pathlib import Path

from tests.engines import debian
from tests.projects import ROOT, clean_environment, run, uv

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


@cache
def interpreters() -> dict[str, str]:
    """The Python of each version that can be had here: `3.12` and its path.

    Those of this machine, pyenv's among them; the newest of Debian where the machine lacks it.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [*map(str, pyenv.glob("*/bin")), os.environ["PATH"]]
    found = {}
    for version in VERSIONS:
        done = run(
            *(uv(), "python", "find", "--no-project", "--system", version),
            cwd=ROOT,
            env=clean_environment(PATH=os.pathsep.join(folders)),
            check=False,
        )
        if done.returncode == 0:
            found[version] = done.stdout.strip()
    if debian.PYTHON not in found and debian.available():
        found[debian.PYTHON] = str(debian.python())
    return found
