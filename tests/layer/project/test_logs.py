"""What a program logs: text for a person, or an object a line, and what request it is about."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from my_project.data_layer import logs
from my_project.data_layer.settings import InvalidSettings

PROGRAM = """
import logging

from my_project.data_layer import logs
from my_project.data_layer.settings import InvalidSettings

logs.configure(text={text})
log = logging.getLogger("my_project.orders")
log.debug("unsaid")
log.info("%s orders", 3)
with logs.about("desk-1"):
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("it failed")
log.warning("after\\nit")
assert not logging.getLogger("sqlalchemy.engine").isEnabledFor(logging.INFO), "statements are said"
"""


def said(folder: Path, *, text: bool = True, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import sqlalchemy\n" + PROGRAM.format(text=text)],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("text", [True, False])
def test_json_is_an_object_a_line(tmp_path: Path, text: bool) -> None:
    lines = said(tmp_path, text=text, JSON_LOGS="true").splitlines()
    first, second, third = [json.loads(line) for line in lines]
    moment = first.pop("time")
    assert moment.endswith("+00:00")
    assert first == {"level": "INFO", "logger": "my_project.orders", "message": "3 orders"}
    assert second["request_id"] == "desk-1"
    assert "ZeroDivisionError" in second["exc_info"]
    assert third["message"] == "after\nit"
    assert "request_id" not in third


def test_text_is_for_a_person(tmp_path: Path) -> None:
    lines = said(tmp_path).splitlines()
    assert lines[0].endswith(" INFO my_project.orders: 3 orders")
    assert "Traceback (most recent call last):" in lines


def test_a_web_server_keeps_its_text(tmp_path: Path) -> None:
    """What no handler is for, Python says without a form."""
    assert said(tmp_path, text=False).splitlines()[-2:] == ["after", "it"]


def test_a_wrong_setting_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSON_LOGS", "perhaps")
    with pytest.raises(InvalidSettings, match="JSON_LOGS"):
        logs.configure()


def test_a_block_is_about_one_request() -> None:
    def ids() -> list[Any]:
        return [logs.request_id()]

    before = ids()
    with logs.about("outer"):
        with logs.about("inner"):
            assert ids() == ["inner"]
        assert ids() == ["outer"]
    assert ids() == before
