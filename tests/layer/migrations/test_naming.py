"""File names: YYYYMMDD_HHMMSS_description.py, whatever the message is."""

import ast
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command

from my_project.data_layer.database.migrations import MigrationError
from my_project.data_layer.database.migrations.naming import (
    description,
    problem_with_name,
)
from my_project.data_layer.database.migrations.runner import (
    run_command,
)

from .conftest import Scratch

MESSAGES = [
    ("add the e-mail of accounts", "add_the_e_mail_of_accounts"),
    ("Ünïcode Ärger!", "unicode_arger"),
    ("Straße 🚀 größer", "strasse_grosser"),
    ("  SHOUTING   twice ", "shouting_twice"),
    ('it\'s "quoted" \\ """ and ../../escapes', "it_s_quoted_and_escapes"),
    ("two\nlines", "two_lines"),
]


@pytest.mark.standard("DL-MIG-01")
@pytest.mark.parametrize(("message", "expected"), MESSAGES)
def test_a_message_becomes_a_plain_description(message: str, expected: str) -> None:
    assert description(message) == expected
    assert problem_with_name(Path(f"20260228_235959_{expected}.py")) is None


@pytest.mark.standard("DL-MIG-01")
@pytest.mark.parametrize("autogenerate", [False, True])
async def test_alembic_revision_names_the_file_by_utc(
    scratch: Scratch, *, autogenerate: bool
) -> None:
    scratch.models("from sqlalchemy import Table\nTable('t', metadata)")
    message = 'Ünïcode Ärger! "Say" \\N """🚀"""'
    before = datetime.now(UTC).replace(microsecond=0)
    options = ["--autogenerate"] if autogenerate else []
    # Far from UTC, so that local time would show.
    code, output = await scratch.alembic("revision", *options, "-m", message, TZ="Asia/Tokyo")
    assert code == 0, output
    [file] = scratch.versions.glob("*.py")
    match = re.fullmatch(r"(\d{8}_\d{6})_unicode_arger_say_n\.py", file.name)
    assert match, file.name
    named = datetime.strptime(match[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    assert before <= named <= datetime.now(UTC)
    source = file.read_text("utf-8")
    assert (ast.get_docstring(ast.parse(source)) or "").startswith(message)
    assert ("create_table" in source) is autogenerate


@pytest.mark.standard("DL-MIG-01")
@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("🚀", "gives no file name"),
        ("word " * 20, "of 99 characters; use at most 60"),
    ],
)
async def test_a_message_that_makes_no_name_is_refused(
    scratch: Scratch, message: str, sentence: str
) -> None:
    with pytest.raises(MigrationError, match=sentence):
        await run_command(command.revision, scratch.config(), message=message)
    assert list(scratch.versions.iterdir()) == []


@pytest.mark.standard("DL-MIG-01")
async def test_alembic_revision_without_a_message_is_refused(scratch: Scratch) -> None:
    code, output = await scratch.alembic("revision")
    assert code != 0
    assert "gives no file name" in output
    assert "Traceback" not in output
    assert list(scratch.versions.iterdir()) == []


async def test_autogenerate_writes_nothing_when_nothing_changed(scratch: Scratch) -> None:
    await run_command(command.revision, scratch.config(), message="no", autogenerate=True)
    assert list(scratch.versions.iterdir()) == []


@pytest.mark.standard("DL-MIG-01")
@pytest.mark.parametrize(
    "name",
    [
        "4ab8906c0ecf_add_mail.py",
        "20260101_120000.py",
        "20260101_120000_.py",
        "20260101_120000_Add_Mail.py",
        "20260101_120000_add__mail.py",
        "20260101_120000_add-mail.py",
        "20260101_120000_größe.py",
        "20261301_120000_add_mail.py",
        "20260101_250000_add_mail.py",
        f"20260101_120000_{'x' * 61}.py",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    assert name in (problem_with_name(Path(name)) or "")
