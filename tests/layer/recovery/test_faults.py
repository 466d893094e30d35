"""What breaks, breaks before the restore: every missing or damaged file is found, and named."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest

from my_project.data_layer.recovery import Kind, RecoveryError, Target, drill
from my_project.data_layer.recovery import manifest as manifests
from my_project.data_layer.recovery.manifest import Sum
from tests.layer.recovery.conftest import Shop, opened_folder, shop, typed
from tests.layer.servers import kill

RUN = "from my_project.data_layer.cli import create_cli; create_cli()(['backup', 'run', 'full'])"


@pytest.fixture(scope="module")
def kept() -> Iterator[Shop]:
    """A full backup, an incremental one, and some WAL behind them."""
    with opened_folder() as folder, shop(folder) as opened:
        opened.tool.run(Kind.FULL)
        opened.archived()
        opened.execute("INSERT INTO notes SELECT 'note ' || n FROM generate_series(1, 500) n")
        opened.tool.run(Kind.INCREMENTAL)
        for _ in range(3):
            opened.archived()
        yield opened


def flip(file: Path) -> bytes:
    """Change one byte that means something; returns what was there before."""
    whole = file.read_bytes()
    for place in range(len(whole) // 2, len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        # A segment ends in zeros, which another code of the compression may mean as well.
        if file.suffix != ".gz" or not same_content(changed, whole):
            file.write_bytes(changed)
            return whole
    raise AssertionError(file)


def same_content(changed: bytes, whole: bytes) -> bool:
    try:
        return gzip.decompress(changed) == gzip.decompress(whole)
    except (OSError, EOFError, zlib.error):
        return False


def needed(kept: Shop) -> list[str]:
    start = kept.tool.backups()[0].start
    return sorted(name for name in kept.tool.archive().segments if name >= start)


def test_all_is_well_before_anything_breaks(kept: Shop) -> None:
    done = typed("backup", "verify")
    assert done.exit_code == 0, done.output
    assert "Backups read: 2. All is as it was written." in done.output


@pytest.mark.standard("DL-BK-05")
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_a_missing_segment_is_named(kept: Shop, place: str) -> None:
    names = needed(kept)
    name = {"start": names[0], "middle": names[len(names) // 2], "end": names[-1]}[place]
    file = kept.wal / f"{name}.gz"
    # A file that only begins like it must not stand in for it.
    (kept.wal / f"{name}.00000028.backup.gz").touch()
    aside = file.rename(kept.folder / "aside.gz")
    try:
        verified = typed("backup", "verify")
        checked = typed("check", "--only", "DL-BK-05")
    finally:
        aside.rename(file)
        (kept.wal / f"{name}.00000028.backup.gz").unlink()

    for done in (verified, checked):
        assert done.exit_code == 1
        assert name in done.output


@pytest.mark.standard("DL-BK-08")
def test_the_drill_ends_at_a_gap_before_it_restores(kept: Shop) -> None:
    """A restore to the latest moment would promote at the gap without an error."""
    name = needed(kept)[1]
    aside = (kept.wal / f"{name}.gz").rename(kept.folder / "aside.gz")
    try:
        report = drill(kept.settings, kept.tool)
    finally:
        aside.rename(kept.wal / f"{name}.gz")

    assert not report.ok
    assert (report.steps[-1].name, report.steps[-1].ok) == ("WAL without a gap", False)
    assert name in report.steps[-1].said


def test_a_flipped_byte_in_the_wal_is_named_and_stops_a_restore(kept: Shop) -> None:
    last = kept.archived()
    name, file = last, kept.wal / f"{last}.gz"
    target = kept.point("behind the damage")
    kept.archived()
    whole = flip(file)
    try:
        done = typed("backup", "verify")
        with pytest.raises(RecoveryError, match="ended in its recovery"):
            kept.restored(target)
        # The latest moment would otherwise be taken for the one before the damage.
        with pytest.raises(RecoveryError, match="ended in its recovery"):
            kept.restored(Target("latest"))
    finally:
        file.write_bytes(whole)

    assert done.exit_code == 1
    assert name in done.output


@pytest.mark.parametrize("number", [0, 1], ids=["full", "incremental"])
def test_a_flipped_byte_in_any_backup_of_the_chain_is_named(kept: Shop, number: int) -> None:
    label = kept.tool.backups()[number].label
    files = list((kept.folder / "repository" / label / "base").rglob("*"))
    largest = max((path for path in files if path.is_file()), key=lambda path: path.stat().st_size)
    whole = flip(largest)
    try:
        done = typed("backup", "verify")
    finally:
        largest.write_bytes(whole)

    assert done.exit_code == 1
    assert label in done.output
    assert largest.name in done.output


def test_a_drill_that_finds_other_rows_fails(kept: Shop) -> None:
    """The judge itself: against a manifest that was altered."""
    take = manifests.take

    def altered(*arguments: object) -> manifests.Manifest:
        taken = take(*arguments)  # type: ignore[arg-type]
        tables = dict(taken.tables)
        tables["public.notes"] = Sum(tables["public.notes"].rows, "1")
        tables["public.orders"] = Sum(1, tables["public.orders"].hash)
        object.__setattr__(taken, "tables", tables)
        return taken

    with patch.object(manifests, "take", altered):
        report = drill(kept.settings, kept.tool)

    [wrong] = [step for step in report.steps if not step.ok]
    assert not report.ok
    assert "public.notes has other rows than it had." in wrong.said
    assert "public.orders has 2000 rows instead of 1." in wrong.said


@pytest.mark.standard("DL-BK-04")
def test_an_archive_that_was_unreachable_has_no_gap_afterwards(kept: Shop) -> None:
    kept.archive_by("exit 1")
    kept.execute("INSERT INTO notes VALUES ('meanwhile')", "SELECT pg_switch_wal()")
    kept.write_until(lambda: kept.execute("SELECT failed_count > 0 FROM pg_stat_archiver"))
    during = typed("check", "--only", "DL-BK-04")
    refused = typed("backup", "run", "full")
    kept.archive_by("")
    kept.archived()
    after = typed("check", "--only", "DL-BK-04", "--only", "DL-BK-05")

    assert during.exit_code == 1
    assert "was refused last" in during.output
    assert refused.exit_code != 0
    assert "does not reach the archive" in refused.output
    assert after.exit_code == 0, after.output


def running(living: Shop) -> subprocess.Popen[str]:
    """A backup that waits for its WAL, with everything copied."""
    held = living.wal / "held"
    living.archive_by(f'touch "{held}"; while [ -e "{held}" ]; do sleep 0.1; done; exit 1')
    living.write_until(held.exists)
    program = subprocess.Popen(
        [sys.executable, "-c", RUN],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"COLUMNS": "500"},
    )
    complete = {backup.label for backup in living.tool.backups()}
    copied = (living.folder / "repository").glob
    living.wait(lambda: {file.parent.name for file in copied("2*/backup_label")} - complete)
    return program


def test_a_backup_whose_tool_or_server_was_killed_is_none_and_the_next_is_good(
    living: Shop,
) -> None:
    program = running(living)
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()
    assert living.tool.backups() == []

    living.archive_by("")
    living.archived()
    first = living.tool.run(Kind.FULL)
    program = running(living)
    kill(living.server)
    _, said = program.communicate()
    assert program.returncode == 2
    assert said.splitlines()[-1].startswith("Error: The full backup failed:")
    assert "Traceback" not in said

    living.server.start()
    living.archive_by("")
    living.archived()
    second = living.tool.run(Kind.FULL)
    wanted = living.sums()
    living.archived()
    assert living.tool.backups() == [first, second]
    assert {path.name for path in (living.folder / "repository").glob("2*") if path.is_dir()} == {
        first.label,
        second.label,
    }
    assert living.restored(Target("latest")) == wanted


def test_no_acknowledged_commit_is_lost_with_a_killed_server(living: Shop) -> None:
    """Nor with the machine: what the archive has is restored beside it."""
    living.tool.run(Kind.FULL)
    living.execute("CREATE TABLE written (writer int, n int)")
    acknowledged: list[tuple[int, int]] = []
    busy = threading.Semaphore(0)

    def write(writer: int) -> None:
        url = living.server.url.set(drivername="postgresql")
        address = url.render_as_string(hide_password=False)
        try:
            with psycopg.connect(address, autocommit=True) as connection:
                for n in range(1_000_000):
                    connection.execute("INSERT INTO written VALUES (%s, %s)", (writer, n))
                    acknowledged.append((writer, n))
                    busy.release()
        except psycopg.OperationalError:
            return

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    for _ in range(500):
        busy.acquire()
    kill(living.server)
    for thread in writers:
        thread.join()
    living.server.start()

    with psycopg.connect(
        living.server.url.set(drivername="postgresql").render_as_string(hide_password=False)
    ) as connection:
        found = set(connection.execute("SELECT writer, n FROM written").fetchall())
    assert set(acknowledged) - found == set()
    wanted = living.sums()
    living.archived()
    assert living.restored(Target("latest")) == wanted
