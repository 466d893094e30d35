"""A restore brings back exactly what was there: every row, at a name, at a moment, at the end."""

import os
from pathlib import Path

import pytest

from my_project.data_layer.recovery import Kind, RecoveryError, Target, drill
from my_project.data_layer.recovery.continuity import gap
from my_project.data_layer.recovery.server import archiving, connected, describe
from tests.layer.recovery.conftest import Shop


def test_every_way_back_is_exact_to_the_row(living: Shop) -> None:
    """From a full backup and from a chain; to a name, to a moment, before a DROP TABLE, latest."""
    full = living.tool.run(Kind.FULL)
    living.execute("INSERT INTO notes SELECT 'first ' || n FROM generate_series(1, 500) n")
    first = living.tool.run(Kind.INCREMENTAL)
    living.execute("UPDATE orders SET price = 1 WHERE id % 5 = 0")
    second = living.tool.run(Kind.INCREMENTAL)
    assert (first.prior, second.prior) == (full.label, first.label)
    living.execute("DELETE FROM orders WHERE id % 3 = 0")
    name, named = living.point("before the night"), living.sums()
    living.execute("INSERT INTO notes VALUES ('of the morning')")
    moment, then = living.now(), living.sums()
    living.execute("DROP TABLE orders", "INSERT INTO notes VALUES ('after the accident')")
    now = living.sums()
    living.archived()

    assert living.restored(name, full) == named
    assert living.restored(name) == named
    assert living.restored(moment) == then
    assert living.restored(Target("latest")) == now
    assert "public.orders" in then
    assert "public.orders" not in now


def test_an_idle_database_needs_the_heartbeat_to_be_restored_to_a_moment(living: Shop) -> None:
    living.tool.run(Kind.FULL)
    living.execute("INSERT INTO notes VALUES ('the last of the day')")
    moment, wanted = living.now(), living.sums()
    living.execute("SELECT pg_switch_wal()")
    with pytest.raises(RecoveryError, match="recovery ended before configured recovery target"):
        living.restored(moment)

    living.archived()  # with a heartbeat
    assert living.restored(moment) == wanted


def test_a_restored_server_goes_on_archiving_on_a_timeline_of_its_own(living: Shop) -> None:
    """The lost server: the copy becomes the server, and everything before and after it is there."""
    full = living.tool.run(Kind.FULL)
    living.execute("INSERT INTO notes VALUES ('before')")
    name, before = living.point("end of the first life"), living.sums()
    living.execute("INSERT INTO notes VALUES ('lost with the server')")
    living.archived()
    living.server.stop()
    lost = living.server.data.rename(living.folder / "lost")
    living.server.data.mkdir(mode=0o700)
    living.tool.restore(living.server.data, name, full, takes_over=True)
    own(living.server.data, lost)
    living.server.start()
    living.wait(lambda: not living.execute("SELECT pg_is_in_recovery()"))
    assert living.sums() == before
    living.execute("INSERT INTO notes VALUES ('after')")
    after = living.sums()
    end = living.archived()

    assert end.startswith("00000002")
    with connected(living.server.url) as connection:
        state = (describe(connection), archiving(connection))
    assert gap(living.tool.backups(), living.tool.archive(), *state) == []
    assert living.restored(Target("latest"), full) == after
    # Of a backup of the first life the drill follows the server into the second.
    assert drill(living.settings, living.tool).ok
    living.tool.run(Kind.FULL)
    living.archived()
    assert living.restored(Target("latest")) == after


def own(folder: Path, like: Path) -> None:
    """Give a restored folder to who owned the lost one."""
    owner = like.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
