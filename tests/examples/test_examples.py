"""What stands under examples/ is what the template renders today."""

from pathlib import Path

import pytest

from examples.render import ANSWERS, RENDERED, ROOT, answers, render
from tests.combinations import QUESTIONS
from tests.projects import files

NAMES = sorted(path.stem for path in ANSWERS.glob("*.yml"))


def test_the_promised_answers_files_are_there() -> None:
    assert NAMES == ["analytics", "everything", "minimal", "realtime"]


@pytest.mark.parametrize("name", NAMES)
def test_answers_files_are_valid(template: Path, tmp_path: Path, name: str) -> None:
    assert set(answers(name)) <= set(QUESTIONS), "a misspelt name would be ignored silently"
    render(name, template, tmp_path / name)
    assert (tmp_path / name / "src" / name / "data_layer").is_dir()


def test_everything_has_every_module(template: Path, tmp_path: Path) -> None:
    given = answers("everything")
    choices = QUESTIONS["modules"]["choices"]
    assert given.get("modules", []) == list(choices.values() if choices else [])
    assert given["http_api"] is given["example"] is True


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_examples_are_in_step(template: Path, tmp_path: Path, name: str) -> None:
    fresh = files(render(name, template, tmp_path / name))
    kept = files(ROOT / "examples" / name)
    differing = sorted(path for path in fresh.keys() | kept if fresh.get(path) != kept.get(path))
    assert differing == [], "type: make examples"
