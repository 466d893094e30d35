"""Nobody runs this project without having said what makes its backups."""

import json

import pytest

from .conftest import typed


@pytest.mark.standard("DL-BK-01")
def test_a_project_must_say_what_saves_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_TOOL", "")
    done = typed("check", "--json", "--only", "DL-BK-01")
    [check] = json.loads(done.stdout)["checks"]
    assert (done.exit_code, check["verdict"]) == (1, "failed")
    assert "BACKUP_TOOL=pgbackrest" in check["remedy"]


def test_without_a_tool_every_command_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_TOOL", "none")
    for command in ("status", "verify", "drill"):
        done = typed("backup", command)
        assert done.exit_code == 2
        assert "No backup is set up" in done.output
