"""pgBackRest for real: a repository's life, and what its own checks don't say."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from my_project.data_layer.devservers import postgresql as devserver
from my_project.data_layer.recovery import BackupSettings, Kind, RecoveryError, Target
from my_project.data_layer.recovery.pgbackrest import PgBackRest
from tests.layer.recovery.conftest import (
    NEWEST,
    OLDER,
    SECRET,
    Shop,
    opened_folder,
    own,
    shop,
    shop_of,
    typed,
    wheel,
)

pytestmark = pytest.mark.pgbackrest

ZSTANDARD = b"\x28\xb5\x2f\xfd"

# Writes down how it is called, and calls pgBackRest.
RECORDER = """\
#!/bin/sh
echo "$@" >> {folder}/calls
env | grep ^PGBACKREST_ >> {folder}/environment
exec {program} "$@"
"""


@pytest.fixture(scope="module", params=[NEWEST, OLDER])
def kept(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A full backup and an incremental one, encrypted."""
    with opened_folder() as folder, shop_of(request, folder) as opened:
        for schema in ("CREATE SCHEMA shop", "ALTER TABLE orders SET SCHEMA shop"):
            opened.execute(schema)
        for command in ("full", "incremental"):
            done = typed("backup", "run", command)
            assert done.exit_code == 0, done.output
            opened.execute("INSERT INTO notes VALUES ('of the hour')")
        opened.execute("ALTER TABLE notes SET SCHEMA shop")
        yield opened


@pytest.fixture
def recorded(kept: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder with what was typed of pgBackRest."""
    with opened_folder() as folder:
        folder.chmod(0o777)
        program = folder / "recorder"
        here = shlex.quote(str(folder))
        program.write_text(
            RECORDER.format(folder=here, program=shlex.quote(kept.settings.command)),
            encoding="utf-8",
        )
        program.chmod(0o755)
        monkeypatch.setenv("BACKUP_COMMAND", str(program))
        yield folder


@pytest.mark.standard("DL-BK-01", "DL-BK-02", "DL-BK-03", "DL-BK-05", "DL-BK-07", "DL-BK-08")
def test_a_day_of_backups_is_read_proved_and_restored(kept: Shop) -> None:
    full, incremental = kept.tool.backups()
    assert (full.kind, incremental.prior) == (Kind.FULL, full.label)
    # What only changed is copied, in blocks.
    assert incremental.size < full.size / 5
    verified = typed("backup", "verify")
    assert "Backups read: 2. All is as it was written." in verified.output, verified.output
    drilled = typed("backup", "drill")
    assert drilled.exit_code == 0, drilled.output
    assert f"From {incremental.label}." in drilled.output
    checked = typed("check", "--only", "DL-BK")
    assert checked.exit_code == 0, checked.output
    assert "pgBackRest makes them; 2 are kept." in checked.output

    moment, wanted = kept.now(), kept.sums()
    kept.execute("DROP TABLE shop.orders")
    kept.archived()
    folder = kept.folder / "evening"
    done = typed("backup", "restore", "--to", moment.value, "--into", str(folder), "--yes")
    assert done.exit_code == 0, done.output
    assert kept.restored(moment) == wanted


def test_nothing_in_the_repository_can_be_read_without_the_secret(
    kept: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept.tool.encrypted()
    files = [path for path in kept.repository.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".zst"}
    for path in files:
        assert not path.read_bytes().startswith((ZSTANDARD, b"[")), path

    for secret in ("of-another-safe", ""):
        monkeypatch.setenv("BACKUP_ENCRYPTION_SECRET", secret)
        done = typed("check", "--only", "DL-BK-02", "--json")
        assert done.exit_code == 1
        assert "The repository can't be read: [" in done.output
        assert SECRET not in done.output


def test_secrets_reach_it_by_variables_and_never_by_arguments(recorded: Path) -> None:
    assert typed("backup", "status").exit_code == 0
    environment = (recorded / "environment").read_text(encoding="utf-8").splitlines()
    assert f"PGBACKREST_REPO1_CIPHER_PASS={SECRET}" in environment
    calls = (recorded / "calls").read_text(encoding="utf-8")
    assert "info" in calls
    assert SECRET not in calls


@pytest.mark.parametrize("saved", [NEWEST, OLDER], indirect=True)
def test_a_new_volume_goes_on_in_the_repository_once_a_person_says_so(
    saved: Shop, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a dump and a restore, into a newer version or the same: another server to pgBackRest.

    Not by itself: the repository may be that of another database.
    """
    saved.tool.run(Kind.FULL)
    [before] = saved.tool.backups()
    server, private = saved.server, saved.server.data.parent
    server.stop()
    shutil.rmtree(server.data)
    newest = devserver._readable(wheel(18), private / "newest", devserver._account())
    for program in ("initdb", "postgres"):
        script = saved.folder / "bin" / program
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace(str(saved.settings.postgres_bin), str(newest)))
    server._initialise(server.data.with_name("password"))
    server.start()
    with pytest.raises(RecoveryError, match="do not match the database"):
        saved.tool.prepare()

    page = (pytestconfig.rootpath / "ops/backup/README.md").read_text(encoding="utf-8")
    [told] = re.findall(r"docker compose exec backup pgbackrest (stanza-\S+)$", page, re.MULTILINE)
    tool = saved.tool
    assert isinstance(tool, PgBackRest)
    tool._call("Taking over", told, **tool._beside_server())
    monkeypatch.setenv("BACKUP_POSTGRES_BIN", str(newest))
    saved.settings = BackupSettings()
    saved.tool.prepare()
    server.stop()
    server.start()
    saved.execute("CREATE TABLE orders (id int)", "CREATE TABLE notes (said text)")
    after = saved.tool.run(Kind.FULL)
    assert saved.tool.backups() == [before, after]
    saved.execute("INSERT INTO notes VALUES ('after the upgrade')")
    saved.archived()
    assert saved.tool.verify() == []
    moment, wanted = saved.now(), saved.sums()
    saved.heartbeat()
    saved.archived()
    assert saved.restored(moment) == wanted


def test_a_copy_archives_nothing_unless_it_takes_over(kept: Shop) -> None:
    backup = kept.tool.backups()[-1]
    for takes_over in (False, True):
        folder = kept.folder / f"takes over {takes_over}"
        folder.mkdir()
        own(folder, kept.server.data)
        kept.tool.restore(folder, Target("latest"), backup, takes_over=takes_over)
        text = (folder / "postgresql.auto.conf").read_text(encoding="utf-8")
        modes = re.findall(r"^archive_mode = '(\w+)'", text, flags=re.MULTILINE)
        assert modes[-1] == ("on" if takes_over else "off")


def test_without_a_full_backup_there_is_no_incremental_one(open_folder: Path, debian: Path) -> None:
    """pgBackRest would make a full one instead, with no more than a warning."""
    with shop(open_folder, debian=debian) as opened:
        assert opened.tool.backups() == []
        with pytest.raises(RecoveryError, match="There is no full backup yet"):
            opened.tool.run(Kind.INCREMENTAL)


def test_a_program_that_is_not_there_is_said_in_a_sentence(
    kept: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_COMMAND", os.fspath(kept.folder / "nothing"))
    done = typed("backup", "status")
    assert done.exit_code == 2
    assert "can't be run" in done.output


def expire(kept: Shop, debian: Path, days: int) -> None:
    """What pgBackRest drops after a backup, by a clock that is moved."""
    [found] = debian.glob("usr/lib/*/faketime/libfaketime.so.1")
    # The loader takes a space for the end of a name.
    library = shutil.copy(found, kept.folder)
    [loader] = debian.glob("usr/lib/*/ld-linux-*.so.?")
    program = debian / "usr" / "bin" / "pgbackrest.elf"
    stat = kept.server.data.stat()
    subprocess.run(
        [
            *(loader, "--library-path", loader.parent, "--preload", library),
            *(program, "expire"),
        ],
        env={**os.environ, **kept.tool.environment(), "FAKETIME": f"+{days}d"},
        user=stat.st_uid,
        group=stat.st_gid,
        check=True,
    )


def test_any_moment_of_the_retention_stays_restorable(open_folder: Path, debian: Path) -> None:
    with shop(open_folder, debian=debian) as opened:
        first = opened.tool.run(Kind.FULL)
        second = opened.tool.run(Kind.FULL)
        opened.execute("INSERT INTO notes VALUES ('seven days ago')")
        third = opened.tool.run(Kind.INCREMENTAL)
        moment, then = opened.now(), opened.sums()
        opened.execute("DELETE FROM orders")
        last = opened.archived()

        expire(opened, debian, days=6)
        assert opened.tool.backups() == [first, second, third]
        # Eight days on the second is older than all of the seven, so the first is not needed.
        expire(opened, debian, days=8)
        assert opened.tool.backups() == [second, third]
        segments = opened.tool.archive().segments
        assert min(segments) >= second.start
        assert last in segments
        assert opened.tool.verify() == []
        assert opened.restored(moment) == then
