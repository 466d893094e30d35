"""What a person types, and what is answered; never a traceback."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from my_project.data_layer.recovery import Kind, RecoveryError, Target
from my_project.data_layer.recovery import progress as progress_module
from my_project.data_layer.recovery.progress import progress
from my_project.data_layer.recovery.reports import Report
from my_project.data_layer.recovery.reports import write as write_report
from tests.layer.recovery.conftest import Shop, typed

TABLES = ("orders", "notes")


def test_a_day_of_backups_by_the_command_line(living: Shop) -> None:
    early = typed("backup", "run", "incremental")
    assert early.exit_code == 2
    assert "type `backup run full` first" in early.output
    assert "There is no backup" in typed("backup", "status").output

    done = typed("backup", "run", "full")
    assert done.exit_code == 0, done.output
    assert "An exercise on this machine, and no backup" in done.output
    assert typed("backup", "run", "incremental").exit_code == 0
    strange = typed("backup", "drill")
    assert strange.exit_code == 1
    assert "FAILED  The project's checks: DL-MIG-05" in strange.output  # no model has these tables
    assert strange.output.count("FAILED") == 1

    living.execute("CREATE SCHEMA shop", *(f"ALTER TABLE {one} SET SCHEMA shop" for one in TABLES))
    point = living.point("evening")
    wanted = living.sums()
    drilled = typed("backup", "drill")
    assert drilled.exit_code == 0, drilled.output
    assert drilled.output.count("FAILED") == 0
    assert "The drill succeeded" in drilled.output
    said = typed("backup", "status").output
    assert "No drill yet" not in said
    assert "incremental" in said

    report = json.loads(living.settings.report().read_text(encoding="utf-8"))
    assert report["ok"] is True
    assert report["manifest"]["tables"]["shop.orders"]["rows"] == 2000
    # The 50 ms hold on a machine that is idle; that nobody waits for seconds, on any.
    assert 0 < report["manifest"]["held"] < 2
    assert {step["name"] for step in report["steps"]} >= {
        "Manifest under load",
        "Rows of every table",
        "Migration",
        "The project's checks",
        "Indexes and heap (pg_amcheck)",
        "Page checksums",
        "Production is untouched",
    }
    metric = living.settings.report().with_suffix(".prom").read_text(encoding="utf-8")
    assert "backup_drill_success 1.0\n" in metric
    assert "backup_drill_last_success_timestamp_seconds 1" in metric
    assert living.sums() == wanted
    assert {path.name[:8] for path in (living.repository / "wal").glob("0*.gz")} == {"00000001"}
    assert living.restored(point) == wanted


def test_a_restore_says_what_it_will_do_and_overwrites_nothing(living: Shop) -> None:
    living.tool.run(Kind.FULL)
    folder = living.folder / "full of life"
    folder.mkdir()
    (folder / "letter").write_text("dear Ada", encoding="utf-8")
    command = ("backup", "restore", "--to", "latest", "--into", str(folder))

    refused = typed(*command, "--yes")
    assert refused.exit_code == 2
    assert "is not empty" in refused.output
    unanswered = typed(*command, "--overwrite")
    assert unanswered.exit_code == 1
    assert "What the folder holds is deleted first." in unanswered.output
    assert (folder / "letter").read_text(encoding="utf-8") == "dear Ada"

    (folder / "postmaster.pid").touch()
    assert "A server runs on" in typed(*command, "--overwrite", "--yes").output
    (folder / "postmaster.pid").unlink()
    done = typed(*command, "--overwrite", "--yes")
    assert done.exit_code == 0, done.output
    assert done.output.index("it archives nothing then.") < done.output.index("Done.")
    assert not (folder / "letter").exists()
    assert (folder / "recovery.signal").exists()


def test_a_target_is_a_moment_with_its_zone_or_a_name() -> None:
    assert Target.parse("latest") == Target("latest")
    assert Target.parse("before the release") == Target("name", "before the release")
    moment = Target.parse("2026-11-28T05:00:00+01:00")
    assert moment == Target("time", "2026-11-28 05:00:00+01:00")
    with pytest.raises(RecoveryError, match="no time zone"):
        Target.parse("2026-11-28T05:00:00")


def test_what_takes_long_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_module, "FIRST", 0.01)
    with progress("Copying"):
        said = ""
        while not said:
            time.sleep(0.01)
            said = capsys.readouterr().err
    assert said.startswith("Copying … ")


def test_the_last_success_outlives_a_drill_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "drill.json"
    good = Report("a tool", exercise=True, started=datetime(2026, 11, 1, tzinfo=UTC))
    good.loss_seconds = 1.0
    write_report(good, file)
    write_report(Report("a tool", exercise=True, started=datetime(2026, 11, 28, tzinfo=UTC)), file)

    report = json.loads(file.read_text(encoding="utf-8"))
    assert (report["ok"], report["last_success"]) == (False, "2026-11-01T00:00:00+00:00")
    metric = file.with_suffix(".prom").read_text(encoding="utf-8")
    assert "backup_drill_success 0.0" in metric
    assert "backup_drill_last_success_timestamp_seconds 1793491200.0" in metric
