"""This project's command line starts, and what the standard demands of its core holds."""

import pytest

from . import layer
from .conftest import Ask, typed

CORE = {"DL-PG", "DL-ORM", "DL-TX", "DL-OPS", "DL-MIG"}


def test_the_command_line_says_what_it_can() -> None:
    done = typed("--help")
    assert done.exit_code == 0, done.output
    groups = [group.name or "" for group in layer.cli.create_cli().registered_groups]
    assert "migrations" in groups
    for command in ("init", "check", "demo", "embedded", *groups):
        assert f" {command} " in done.output
        asked = typed(command, "--help")
        assert asked.exit_code == 0, asked.output


def test_the_checklist_names_each_demand_once() -> None:
    done = typed("check", "--list")
    assert done.exit_code == 0, done.output
    ids = [line.split()[0] for line in done.output.splitlines()]
    assert len(set(ids)) == len(ids)
    assert {one.rpartition("-")[0] for one in ids} >= CORE


@pytest.mark.usefixtures("database_in_environment")
async def test_the_core_keeps_to_the_standard(ask: Ask) -> None:
    # The other checks of DL-PG judge a permanent server.
    await ask("DL-PG-01", "DL-PG-03", "DL-ORM-01", "DL-TX-02")
