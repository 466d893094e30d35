"""What runs in compose: the schedule's turns by a clock that is moved, and the configuration."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from my_project.data_layer.recovery import BackupSettings
from my_project.data_layer.recovery.pgbackrest import PgBackRest
from tests.layer.recovery.conftest import Shop

OPS = Path("ops", "backup")
PROGRAMS = {
    # Labels as pgBackRest gives them, by the same clock.
    "pgbackrest": """
        case $1 in
            info) cat "$BASE/made" ;;
            --type=full) echo "        full backup: $(cat "$BASE/now")00F" >> "$BASE/made" ;;
            --type=incr)
                echo "        incr backup: 20000101-0F_$(cat "$BASE/now")00I" >> "$BASE/made" ;;
        esac""",
    "psql": 'echo beat >> "$BASE/beats"',
    "date": """
        case $2 in
            +%Y%m%d-%H) cut -c 1-11 "$BASE/now" ;;
            *) cat "$BASE/now" ;;
        esac""",
}
S3 = {
    "BACKUP_S3_BUCKET": "backups",
    "BACKUP_S3_ENDPOINT": "s3.example.org",
    "BACKUP_S3_URI_STYLE": "path",
    "BACKUP_S3_CA_FILE": "/etc/pgbackrest/ca.pem",
    "BACKUP_S3_KEY": "a-key",
    "BACKUP_S3_KEY_SECRET": "a-secret",
    "BACKUP_ENCRYPTION_SECRET": "of-the-safe",
    "BACKUP_RETENTION_DAYS": "14",
}


def test_a_full_one_daily_an_incremental_one_hourly_and_a_heartbeat_each_turn(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "made").touch()
    script = pytestconfig.rootpath / OPS / "schedule.sh"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    variables = {"PATH": path, "BASE": str(tmp_path), "HEARTBEAT": str(tmp_path / "heartbeat")}

    def turn(now: str) -> str:
        """The kind of backup that was made at that minute."""
        (tmp_path / "now").write_text(now, encoding="utf-8")
        before = (tmp_path / "made").read_text(encoding="utf-8").splitlines()
        subprocess.run(["sh", script, "once"], env=os.environ | variables, check=True)
        after = (tmp_path / "made").read_text(encoding="utf-8").splitlines()
        return " ".join(line.split()[0] for line in after[len(before) :])

    turns = {
        "20261128-0510": "full",
        "20261128-0511": "",
        "20261128-0559": "",
        "20261128-0600": "incr",
        "20261128-0601": "",
        "20261128-0930": "incr",  # hours that were slept through are not made up for
        "20261129-0000": "full",
        "20261129-0001": "",
        "20261129-0100": "incr",
    }
    assert {now: turn(now) for now in turns} == turns
    assert (tmp_path / "beats").read_text(encoding="utf-8").count("beat") == len(turns)
    assert (tmp_path / "heartbeat").exists()


@pytest.mark.parametrize("given", [{}, S3], ids=["volume", "bucket"])
def test_containers_and_the_command_line_mean_the_same_repository(
    given: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    file = tmp_path / "pgbackrest.conf"
    script = pytestconfig.rootpath / OPS / "configure.sh"
    own = {"PGBACKREST_STANZA": "my-project", "PGDATA": "/data"}
    # As root it hands the file to the server's user, whom this machine may lack.
    (tmp_path / "chown").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "chown").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", script, file], env=os.environ | own | given | {"PATH": path}, check=True)
    lines = file.read_text(encoding="utf-8").splitlines()
    written = dict(line.split("=", 1) for line in lines if "=" in line)
    assert file.stat().st_mode & 0o007 == 0
    assert lines[-3:] == ["[my-project]", "pg1-path=/data", "pg1-socket-path=/var/run/postgresql"]

    monkeypatch.setenv("BACKUP_REPOSITORY", "/var/lib/pgbackrest")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    called = {
        name.removeprefix("PGBACKREST_").lower().replace("_", "-"): value
        for name, value in PgBackRest(BackupSettings()).environment().items()
    }
    assert called.pop("stanza") == "my-project"
    assert {name: written[name] for name in written if not name.startswith("pg1-")} == called


def test_a_quiet_server_whose_archive_stands_still_is_woken_and_one_that_fails_is_not(
    living: Shop, pytestconfig: pytest.Config
) -> None:
    """After a restart it overlooks its archive_timeout, for up to `checkpoint_timeout`."""
    script = (pytestconfig.rootpath / OPS / "schedule.sh").read_text(encoding="utf-8")
    [statement] = re.findall(r'--command="(SELECT pg_switch_wal[^"]*)"', script)
    at_once = statement.replace("interval '2 min'", "interval '0'")
    assert at_once != statement

    def archived() -> int:
        return int(living.execute("SELECT archived_count FROM pg_stat_archiver"))

    living.archived()
    before = archived()
    living.heartbeat()
    living.execute(statement)
    assert living.execute(at_once) is not None
    living.wait(lambda: archived() > before)

    # Each try of one that fails would cost another 16 MB of its disk.
    living.archive_by("false")
    living.write_until(
        lambda: living.execute("SELECT last_failed_time > last_archived_time FROM pg_stat_archiver")
    )
    living.heartbeat()
    assert living.execute(at_once) is None
