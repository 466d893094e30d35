"""What Copier works out again for each part of each path, and need not."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from copier._main import Worker
from copier._user_data import AnswersMap


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
