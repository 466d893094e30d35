"""Each check fails against what it looks for, and passes when that is repaired."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from my_project.data_layer.recovery import Kind, RecoveryError, checks, drill
from my_project.data_layer.recovery.server import connected
from tests.layer.recovery.conftest import Shop, opened_folder, shop, typed

REMOTE = "postgresql://shop@db.example.org/shop"


@pytest.fixture(scope="module")
def kept() -> Iterator[Shop]:
    """A full and an incremental backup, and a drill that succeeded."""
    with opened_folder() as folder, shop(folder) as opened:
        opened.tool.run(Kind.FULL)
        opened.execute("INSERT INTO notes VALUES ('one')")
        opened.tool.run(Kind.INCREMENTAL)
        assert drill(opened.settings, opened.tool).ok
        yield opened


def asked(*ids: str) -> dict[str, Any]:
    """What the checks found, by their ids."""
    only = [argument for one in ids or ["DL-BK"] for argument in ("--only", one)]
    report = json.loads(typed("check", "--json", *only).stdout)
    return {check["id"]: check for check in report["checks"]}


def verdicts(*ids: str) -> dict[str, str]:
    return {id_: found["verdict"] for id_, found in asked(*ids).items()}


@pytest.mark.standard("DL-BK-01")
def test_without_any_backup_one_cause_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_TOOL", "")
    found = asked()
    assert {check["verdict"] for check in found.values()} == {"failed"}
    assert {check["evidence"] for check in found.values()} == {"No backup is set up."}
    assert "BACKUP_TOOL=pgbackrest" in found["DL-BK-01"]["remedy"]
    assert len(found) == 8


@pytest.mark.standard("DL-BK-01")
def test_none_is_believed_of_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_TOOL", "none")
    monkeypatch.setenv("DATABASE_URL", "postgresql://shop@127.0.0.1:1/shop")
    assert set(verdicts().values()) == {"advice"}

    monkeypatch.setenv("DATABASE_URL", REMOTE)
    found = asked("DL-BK-01")["DL-BK-01"]
    assert found["verdict"] == "failed"
    assert "db.example.org is not this machine" in found["evidence"]


def test_a_server_that_is_down_is_said_in_a_sentence(
    kept: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://shop@127.0.0.1:1/shop")
    found = asked("DL-BK-02")["DL-BK-02"]
    assert found["verdict"] == "failed"
    assert found["evidence"].startswith("The server can't be reached:")


@pytest.mark.standard("DL-BK-01", "DL-BK-07")
def test_an_exercise_is_no_backup_and_all_else_is_well(kept: Shop) -> None:
    found = verdicts()
    assert found.pop("DL-BK-01") == "failed"
    # A young repository has not reached its retention yet, and a folder is no other machine.
    assert (found.pop("DL-BK-06"), found.pop("DL-BK-07")) == ("advice", "advice")
    assert set(found.values()) == {"passed"}, asked()


@pytest.mark.standard("DL-BK-02", "DL-BK-03", "DL-BK-06", "DL-BK-08")
def test_time_that_passes_is_seen(kept: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def after(**since: float) -> dict[str, str]:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + timedelta(**since)

        monkeypatch.setattr(checks, "datetime", Clock)
        ids = ("DL-BK-02", "DL-BK-03", "DL-BK-06", "DL-BK-08")
        return {id_[-2:]: verdict for id_, verdict in verdicts(*ids).items()}

    assert after(hours=1) == {"02": "passed", "03": "passed", "06": "advice", "08": "passed"}
    assert after(hours=3) == {"02": "passed", "03": "failed", "06": "advice", "08": "passed"}
    assert after(hours=27) == {"02": "failed", "03": "failed", "06": "advice", "08": "passed"}
    assert after(days=8) == {"02": "failed", "03": "failed", "06": "passed", "08": "passed"}
    assert after(days=36)["08"] == "failed"


@pytest.mark.standard("DL-BK-04")
def test_an_archive_that_lags_is_seen(kept: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.archived()
    assert verdicts("DL-BK-04") == {"DL-BK-04": "passed"}
    monkeypatch.setattr(checks, "ARCHIVE_AGE", timedelta(0))
    found = asked("DL-BK-04")["DL-BK-04"]
    assert found["verdict"] == "failed"
    assert "heartbeat" in found["remedy"]


@pytest.mark.standard("DL-BK-04")
def test_a_crash_alone_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server forgets what it archived."""
    with opened_folder() as folder, shop(folder) as opened:
        opened.tool.run(Kind.FULL)
        broken = suppress(RecoveryError)
        with broken, connected(opened.server.url) as connection:
            [pid] = connection.execute("SELECT pg_backend_pid()").fetchone() or [0]
            os.kill(pid, signal.SIGKILL)
            connection.execute("SELECT 1")

        def forgot() -> bool:
            with broken:
                return bool(
                    opened.execute("SELECT last_archived_wal IS NULL FROM pg_stat_archiver")
                )
            return False

        opened.wait(forgot)
        assert verdicts("DL-BK-04", "DL-BK-05") == {"DL-BK-04": "passed", "DL-BK-05": "passed"}
        monkeypatch.setattr(checks, "ARCHIVE_AGE", timedelta(0))
        found = asked("DL-BK-04")["DL-BK-04"]
        assert found["verdict"] == "failed"
        assert found["evidence"].startswith("Nothing was archived since 20")


@pytest.mark.standard("DL-BK-07")
def test_a_repository_that_is_not_encrypted_as_set_is_seen(
    kept: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_ENCRYPTION_SECRET", "of-the-safe")
    report = typed("check", "--json", "--only", "DL-BK-07").stdout
    assert '"verdict": "failed"' in report
    assert "of-the-safe" not in report


@pytest.mark.standard("DL-BK-08")
def test_a_drill_that_failed_or_never_was_is_seen(kept: Shop) -> None:
    file = kept.settings.report()
    whole = file.read_text(encoding="utf-8")
    broken = json.loads(whole)
    broken["ok"] = False
    broken["steps"][5] |= {"ok": False, "said": "public.orders is missing."}
    file.write_text(json.dumps(broken), encoding="utf-8")
    failed = asked("DL-BK-08")["DL-BK-08"]
    file.unlink()
    never = asked("DL-BK-08")["DL-BK-08"]
    file.write_text(whole, encoding="utf-8")

    assert failed["verdict"] == "failed"
    assert "public.orders is missing." in failed["evidence"]
    assert never["verdict"] == "failed"
    assert "The last drill is none" in never["evidence"]


@pytest.mark.standard("DL-BK-01", "DL-BK-08")
def test_a_provider_is_asked_what_can_be_asked(kept: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """WAL settings, and on which day a person last saw the data come back."""
    monkeypatch.setenv("BACKUP_TOOL", "managed")
    found = asked()
    assert {id_ for id_, check in found.items() if check["verdict"] == "failed"} == {"DL-BK-08"}
    assert "BACKUP_RESTORED_ON is not set" in found["DL-BK-08"]["evidence"]

    monkeypatch.setenv("BACKUP_RESTORED_ON", f"{datetime.now(UTC).date() - timedelta(days=3)}")
    assert set(verdicts().values()) == {"passed"}
    monkeypatch.setenv("BACKUP_RESTORED_ON", f"{date(2020, 1, 1)}")
    assert verdicts("DL-BK-08") == {"DL-BK-08": "failed"}
    done = typed("backup", "run", "full")
    assert done.exit_code == 2
    assert "BACKUP_TOOL=managed" in done.output


def test_wrong_settings_are_named_and_their_values_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKUP_TOOL", "pgbackrest")
    monkeypatch.setenv("BACKUP_RETENTION_DAYS", "6")
    assert "BACKUP_RETENTION_DAYS" in typed("backup", "status").output
    monkeypatch.setenv("BACKUP_RETENTION_DAYS", "7")
    monkeypatch.setenv("BACKUP_S3_BUCKET", "backups")
    monkeypatch.setenv("BACKUP_S3_KEY", "of-the-safe")
    done = typed("backup", "status")
    assert done.exit_code == 2
    assert "BACKUP_S3_ENDPOINT" in done.output
    assert "of-the-safe" not in done.output
