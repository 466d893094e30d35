"""What breaks, breaks before the restore: every missing or damaged file is found, and named."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest

from my_project.data_layer.recovery import Kind, RecoveryError, Target, drill, scratch
from my_project.data_layer.recovery import manifest as manifests
from my_project.data_layer.recovery.manifest import Sum
from tests.layer.recovery.conftest import EXERCISE, NEWEST, Shop, opened_folder, own, shop_of, typed
from tests.layer.servers import kill

RUN = "from my_project.data_layer.cli import create_cli; create_cli()(['backup', 'run', 'full'])"


@pytest.fixture(scope="module", params=[EXERCISE, NEWEST])
def kept(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A full backup, an incremental one, and some WAL behind them."""
    with opened_folder() as folder, shop_of(request, folder) as opened:
        opened.tool.run(Kind.FULL)
        opened.archived()
        opened.execute("INSERT INTO notes SELECT 'note ' || n FROM generate_series(1, 500) n")
        opened.tool.run(Kind.INCREMENTAL)
        for _ in range(3):
            opened.archived()
        yield opened


def test_the_reason_is_not_what_a_client_was_told(tmp_path: Path) -> None:
    """On a busy machine it knocks once more while the server already ends."""
    (tmp_path / "log").write_text(
        "LOG:  starting point-in-time recovery\n"
        "FATAL:  recovery ended before configured recovery target was reached\n"
        "FATAL:  the database system is in recovery mode\n"
        "LOG:  database system is shut down\n"
    )
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    server = scratch.ScratchServer(tmp_path, tmp_path, "postgres")
    with pytest.raises(RecoveryError, match=r"recovery: recovery ended before configured"):
        scratch._wait(ended, server)


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
    file = kept.segment(name)
    # A file that only begins like it must not stand in for it.
    like = file.with_name(f"{name}.00000028.backup{file.suffix if file.suffix == '.gz' else ''}")
    there = like.exists()
    like.touch()
    aside = file.rename(kept.folder / "aside")
    try:
        verified = typed("backup", "verify")
        checked = typed("check", "--only", "DL-BK-05")
    finally:
        aside.rename(file)
        if not there:
            like.unlink()

    for done in (verified, checked):
        assert done.exit_code == 1
        assert name in done.output


@pytest.mark.standard("DL-BK-08")
def test_the_drill_ends_at_a_gap_before_it_restores(kept: Shop) -> None:
    """A restore to the latest moment would promote at the gap without an error."""
    name = needed(kept)[1]
    file = kept.segment(name)
    aside = file.rename(kept.folder / "aside")
    try:
        report = drill(kept.settings, kept.tool)
    finally:
        aside.rename(file)

    assert not report.ok
    assert (report.steps[-1].name, report.steps[-1].ok) == ("WAL without a gap", False)
    assert name in report.steps[-1].said


def test_a_flipped_byte_in_the_wal_is_named_and_stops_a_restore(kept: Shop) -> None:
    name = kept.archived()
    file = kept.segment(name)
    target = kept.point("behind the damage")
    kept.archived()
    whole = flip(file)
    try:
        done = typed("backup", "verify")
        with pytest.raises(RecoveryError, match="ended in its recovery"):
            kept.restored(target)
        if kept.tool.exercise:  # pgBackRest's takes the damage for the end, and says nothing
            with pytest.raises(RecoveryError, match="ended in its recovery"):
                kept.restored(Target("latest"))
    finally:
        file.write_bytes(whole)

    assert done.exit_code == 1
    assert name in done.output


@pytest.mark.parametrize("number", [0, 1], ids=["full", "incremental"])
def test_a_flipped_byte_in_any_backup_of_the_chain_is_named(kept: Shop, number: int) -> None:
    label = kept.tool.backups()[number].label
    largest = kept.largest(label)
    whole = flip(largest)
    try:
        done = typed("backup", "verify")
        report = drill(kept.settings, kept.tool)
    finally:
        largest.write_bytes(whole)

    assert done.exit_code == 1
    assert label in done.output
    assert not report.ok


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
    # pgBackRest waits for a minute before it says so.
    refused = typed("backup", "run", "full") if kept.tool.exercise else None
    kept.archive_by("")
    kept.archived()
    after = typed("check", "--only", "DL-BK-04", "--only", "DL-BK-05")

    assert during.exit_code == 1
    assert "was refused last" in during.output
    assert refused is None or "does not reach the archive" in refused.output
    assert after.exit_code == 0, after.output


@contextmanager
def room_for(saved: Shop, megabytes: int) -> Iterator[Callable[[int], None]]:
    """Let no more come into the repository; call it with what shall have room then."""
    folder, owner = saved.repository, saved.repository.stat()
    aside = saved.folder / "aside"
    subprocess.run(["cp", "-a", folder, aside], check=True)
    used = sum(path.stat().st_size for path in aside.rglob("*")) >> 20
    who = f"uid={owner.st_uid},gid={owner.st_gid},mode=750"

    def limit(options: str, room: int) -> None:
        size = f"{options},size={used + room}m"
        administer("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder))

    limit(who, megabytes)
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", folder], check=True)
        yield lambda room: limit(f"remount,{who}", room)
    finally:
        administer("umount", "--lazy", str(folder))


def administer(*command: str) -> None:
    as_root = () if os.geteuid() == 0 else ("sudo", "--non-interactive")
    subprocess.run([*as_root, *command], check=True)


@pytest.mark.standard("DL-BK-04")
@pytest.mark.parametrize("saved", [NEWEST], indirect=True)
def test_a_disk_that_is_full_is_said_and_leaves_no_gap_when_it_has_room(saved: Shop) -> None:
    saved.tool.run(Kind.FULL)
    with room_for(saved, megabytes=2) as make_room:
        full = typed("backup", "run", "full")
        assert full.exit_code == 2
        assert "The full backup failed" in full.output
        assert "unable to write" in full.output
        assert len(saved.tool.backups()) == 1

        def refused() -> object:
            saved.execute("INSERT INTO notes SELECT md5(n::text) FROM generate_series(1, 50000) n")
            return saved.execute("SELECT failed_count > 0 FROM pg_stat_archiver")

        saved.write_until(refused)
        saved.wait(lambda: typed("check", "--only", "DL-BK-04").exit_code == 1)
        assert "was refused last" in typed("check", "--only", "DL-BK-04").output

        make_room(200)
        saved.archived()
        wanted = saved.sums()
        after = typed("check", "--only", "DL-BK-04", "--only", "DL-BK-05")
        assert after.exit_code == 0, after.output
        assert saved.tool.verify() == []
        assert saved.restored(Target("latest")) == wanted


def running(saved: Shop) -> subprocess.Popen[str]:
    """A backup that stands still in its midst."""
    large = saved.server.data / "large"
    with large.open("wb") as file:
        # What compresses to nothing comes into the repository at the end of the file only.
        file.write(os.urandom(16 << 20))
        file.truncate(8 << 30)  # zeros that take no room, and seconds to copy
    own(large, saved.server.data)
    before = set(saved.repository.rglob("*"))
    program = subprocess.Popen(
        [sys.executable, "-c", RUN],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"COLUMNS": "500"},
    )
    copied = ("large*", "pg_data/*")
    saved.wait(lambda: {one for name in copied for one in saved.repository.rglob(name)} - before)
    os.killpg(program.pid, signal.SIGSTOP)
    os.truncate(large, 0)  # which ends it for who has it open, too
    large.unlink()
    return program


@pytest.mark.parametrize("saved", [EXERCISE, NEWEST], indirect=True)
def test_a_backup_whose_tool_or_server_was_killed_is_none_and_the_next_is_good(saved: Shop) -> None:
    program = running(saved)
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()
    assert saved.tool.backups() == []
    first = saved.tool.run(Kind.FULL)

    program = running(saved)
    kill(saved.server)
    os.killpg(program.pid, signal.SIGCONT)
    _, said = program.communicate()
    assert program.returncode == 2
    assert said.splitlines()[-1].startswith("Error: The full backup failed:")
    assert "Traceback" not in said

    saved.server.start()
    second = saved.tool.run(Kind.FULL)
    wanted = saved.sums()
    saved.archived()
    assert saved.tool.backups() == [first, second]
    assert saved.tool.verify() == []
    assert not [*saved.repository.rglob("large*")]
    assert saved.restored(Target("latest")) == wanted


@pytest.mark.parametrize("saved", [EXERCISE, NEWEST], indirect=True)
def test_no_acknowledged_commit_is_lost_with_a_killed_server(saved: Shop) -> None:
    """Nor with the machine: what the archive has is restored beside it."""
    saved.tool.run(Kind.FULL)
    saved.execute("CREATE TABLE written (writer int, n int)")
    acknowledged: list[tuple[int, int]] = []
    busy = threading.Semaphore(0)

    def write(writer: int) -> None:
        url = saved.server.url.set(drivername="postgresql")
        address = url.render_as_string(hide_password=False)
        try:
            with psycopg.connect(address, autocommit=True) as connection:
                for n in range(1_000_000):
                    connection.execute("INSERT INTO written VALUES (%s, %s)", (writer, n))
                    acknowledged.append((writer, n))
                    busy.release()
        except psycopg.OperationalError:
            return

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in writers:
        thread.start()
    for _ in range(500):
        busy.acquire()
    kill(saved.server)
    for thread in writers:
        thread.join()
    saved.server.start()

    with psycopg.connect(
        saved.server.url.set(drivername="postgresql").render_as_string(hide_password=False)
    ) as connection:
        found = set(connection.execute("SELECT writer, n FROM written").fetchall())
    assert set(acknowledged) - found == set()
    wanted = saved.sums()
    saved.archived()
    assert saved.restored(Target("latest")) == wanted
