"""pgBackRest as the layer calls and reads it, against what 2.60.0 really said on PostgreSQL 18.

A stand-in repeats it here, since a laptop may lack the program.
"""

import json
import os
from pathlib import Path

import pytest

from my_project.data_layer.recovery import BackupSettings, Kind, RecoveryError, Target
from my_project.data_layer.recovery.pgbackrest import PgBackRest

HASH = "4794f985a7001ef93f1033a331f0613e78bc9a96"
FULL, INCREMENTAL = "20261128-063359F", "20261128-063359F_20261128-063401I"
INFO = [
    {
        "archive": [{"id": "17-1"}, {"id": "18-2"}],
        "backup": [
            {
                "label": label,
                "prior": prior,
                "archive": {"start": f"00000001000000000000000{n}", "stop": f"0000000100{n:014X}"},
                "info": {"repository": {"delta": 2735664}},
                "timestamp": {"start": 1795847639, "stop": 1795847640},
            }
            for n, label, prior in ((2, FULL, None), (4, INCREMENTAL, FULL))
        ],
        "cipher": "aes-256-cbc",
        "name": "my-project",
    }
]
LISTING = {
    ".": {"type": "path"},
    "0000000100000000": {"type": "path"},
    f"0000000100000000/000000010000000000000002-{HASH}.zst": {"type": "file"},
    "0000000100000000/000000010000000000000002.00000028.backup": {"type": "file"},
    "0000000100000000/000000010000000000000003.00000028.backup": {"type": "file"},
    f"0000000100000000/000000010000000000000004-{HASH}": {"type": "file"},
    f"0000000100000000/000000010000000000000005.partial-{HASH}.zst": {"type": "file"},
    "00000002.history": {"type": "file"},
}
VERIFIED = """\
stanza: my-project
status: error
  archiveId: 18-2, total WAL checked: 4, total valid WAL: 3
    checksum invalid: 1
"""
LOG = """\
2026-11-28 06:33:00.394 P01   INFO: invalid checksum '18-2/000000010000000000000003'
2026-11-28 06:33:00.613 P00   INFO: verify command end: completed successfully (15784ms)
"""

# Answers by the first word that is a command, and writes down how it was called.
PROGRAM = """\
#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/calls"
env | grep ^PGBACKREST_ | sort > "$here/environment"
for word in "$@"; do
    case $word in --*) continue ;; esac
    [ -f "$here/$word" ] && cat "$here/$word"
    [ "$word" != verify ] || [ "$PGBACKREST_LOG_LEVEL_CONSOLE" != info ] || cat "$here/log"
    exit 0
done
"""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> Path:
    """The folder of the stand-in; a file of a command's name is what that command says."""
    program = open_folder / "pgbackrest"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    open_folder.chmod(0o777)
    for name, text in {"info": json.dumps(INFO), "repo-ls": json.dumps(LISTING)}.items():
        (open_folder / name).write_text(text, encoding="utf-8")
    (open_folder / "repo-get").write_text("1\t0/5000000\tno recovery target\n", encoding="utf-8")
    monkeypatch.setenv("BACKUP_TOOL", "pgbackrest")
    # With an argument, as where it is called in a container.
    monkeypatch.setenv("BACKUP_COMMAND", f"{program} --config-path=/etc/pgbackrest")
    monkeypatch.setenv("BACKUP_REPOSITORY", "/var/lib/pgbackrest")
    monkeypatch.setenv("BACKUP_SYSTEM_USER", "nobody")
    return open_folder


def tool() -> PgBackRest:
    return PgBackRest(BackupSettings())


def test_backups_and_wal_are_read(said: Path) -> None:
    full, incremental = tool().backups()
    assert (full.label, full.kind, incremental.prior) == (FULL, Kind.FULL, FULL)
    assert full.start == "000000010000000000000002"
    assert full.stopped.isoformat() == "2026-11-28T06:34:00+00:00"
    assert tool().encrypted()

    archive = tool().archive()
    assert archive.segments == {"000000010000000000000002", "000000010000000000000004"}
    assert archive.histories == {2: "1\t0/5000000\tno recovery target\n"}
    # Of the newer of two clusters, after an upgrade.
    assert "archive/my-project/18-2" in (said / "calls").read_text(encoding="utf-8")


def test_a_repository_without_the_stanza_is_empty(said: Path) -> None:
    (said / "info").write_text("[]", encoding="utf-8")
    assert tool().backups() == []
    assert tool().archive().segments == frozenset()
    with pytest.raises(RecoveryError, match="There is no full backup yet"):
        tool().run(Kind.INCREMENTAL)


def test_verify_is_judged_by_its_text_and_never_by_its_exit_code(said: Path) -> None:
    assert tool().verify() == []
    (said / "verify").write_text(VERIFIED, encoding="utf-8")
    (said / "log").write_text(LOG, encoding="utf-8")
    named, summary = tool().verify()
    assert "000000010000000000000003" in named
    assert "status: error" in summary


def test_a_backup_that_made_none_is_an_error(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecoveryError, match="without a new backup"):
        tool().run(Kind.FULL)
    assert "backup --type=full" in (said / "calls").read_text(encoding="utf-8")


@pytest.mark.parametrize("takes_over", [False, True])
def test_a_copy_archives_nothing_unless_it_takes_over(said: Path, *, takes_over: bool) -> None:
    backup = tool().backups()[1]
    tool().restore(said, Target("name", "x"), backup, timeline=2, takes_over=takes_over)
    call = (said / "calls").read_text(encoding="utf-8").splitlines()[-1]
    assert f"--archive-mode={'preserve' if takes_over else 'off'}" in call
    assert f"--set={INCREMENTAL}" in call
    assert "--target-timeline=2 --type=name --target=x --target-action=promote" in call


def test_settings_reach_it_by_variables_and_secrets_never_by_arguments(
    said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_ENCRYPTION_SECRET", "of-the-safe")
    monkeypatch.setenv("BACKUP_RETENTION_DAYS", "14")
    tool().backups()
    environment = (said / "environment").read_text(encoding="utf-8").splitlines()
    assert "PGBACKREST_REPO1_CIPHER_PASS=of-the-safe" in environment
    assert "PGBACKREST_REPO1_RETENTION_FULL=14" in environment
    assert "PGBACKREST_STANZA=my-project" in environment
    assert "of-the-safe" not in (said / "calls").read_text(encoding="utf-8")


def test_a_program_that_is_not_there_is_said_in_a_sentence(
    said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_COMMAND", os.fspath(said / "nothing"))
    with pytest.raises(RecoveryError, match="can't be run"):
        tool().backups()
