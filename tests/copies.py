"""What Copier works out again for each file, each copy and each update, and need not."""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from copier import _template
from copier._main import Worker
from copier._user_data import AnswersMap
from copier._vcs import clone

from tests.projects import git


@contextmanager
def answered_once() -> Iterator[None]:
    """Keep what the answers come to while a template is rendered: by then all are given.

    Half the time of a copy, and an update makes three.
    """
    render = Worker._render_template

    def render_answered(worker: Worker) -> None:
        remembered = worker._answers_to_remember()
        with (
            patch.object(Worker, "answers_relpath", worker.answers_relpath),
            patch.object(Worker, "_answers_to_remember", lambda _: remembered),
            patch.object(AnswersMap, "combined", worker.answers.combined),
        ):
            render(worker)

    with patch.object(Worker, "_render_template", render_answered):
        yield


@contextmanager
def cloned_once() -> Iterator[None]:
    """Keep the clone of each version of a template, and its questions: an update makes five.

    They are only read.
    """
    load = _template.load_template_config
    clones: dict[tuple[str, str], str] = {}
    loaded: dict[tuple[Path, int], dict[str, Any]] = {}

    with tempfile.TemporaryDirectory(prefix="clones-") as folder:

        def clone_once(url: str, ref: str = "HEAD", location: str | None = None) -> str:
            repository = Path(url)
            if not repository.is_dir() or git("status", "--porcelain", cwd=repository):
                return clone(url, ref, location)
            # With its tag: that is the version which the answers name.
            version = ("describe", "--tags", "--long", "--always", "--abbrev=40", ref)
            key = (url, git(*version, cwd=repository))
            if key not in clones:
                clones[key] = clone(url, ref, tempfile.mkdtemp(dir=folder))
            return clones[key]

        def load_once(path: Path, quiet: bool = False) -> dict[str, Any]:
            key = (path, path.stat().st_mtime_ns)
            if key not in loaded:
                loaded[key] = load(path, quiet)
            return copy.deepcopy(loaded[key])

        with (
            patch.object(_template, "clone", clone_once),
            patch.object(_template, "load_template_config", load_once),
        ):
            yield
