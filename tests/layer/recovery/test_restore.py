"""A restore brings back exactly what was there: every row, at a name, at a moment, at the end."""

import pytest

from my_project.data_layer.recovery import Kind, RecoveryError, Target, drill
from my_project.data_layer.recovery.continuity import gap
from my_project.data_layer.recovery.server import archiving, connected, describe
from tests.layer.recovery.conftest import EXERCISE, NEWEST, OLDER, Shop, own


@pytest.mark.parametrize("saved", [EXERCISE, NEWEST, OLDER], indirect=True)
def test_every_way_back_is_exact_to_the_row(saved: Shop) -> None:
    """From a full backup and from a chain; to a name, to a moment, before a DROP TABLE, latest."""
    full = saved.tool.run(Kind.FULL)
    saved.execute("INSERT INTO notes SELECT 'first ' || n FROM generate_series(1, 500) n")
    first = saved.tool.run(Kind.INCREMENTAL)
    saved.execute("UPDATE orders SET price = 1 WHERE id % 5 = 0")
    second = saved.tool.run(Kind.INCREMENTAL)
    assert (first.prior, second.prior) == (full.label, first.label)
    saved.execute("DELETE FROM orders WHERE id % 3 = 0")
    name, named = saved.point("before the night"), saved.sums()
    saved.execute("INSERT INTO notes VALUES ('of the morning')")
    moment, then = saved.now(), saved.sums()
    saved.execute("DROP TABLE orders", "INSERT INTO notes VALUES ('after the accident')")
    now = saved.sums()
    saved.archived()

    assert saved.restored(name, full) == named
    assert saved.restored(name) == named
    assert saved.restored(moment) == then
    assert saved.restored(Target("latest")) == now
    assert "public.orders" in then
    assert "public.orders" not in now


@pytest.mark.parametrize("saved", [EXERCISE, NEWEST], indirect=True)
def test_an_idle_database_needs_the_heartbeat_to_be_restored_to_a_moment(saved: Shop) -> None:
    saved.tool.run(Kind.FULL)
    saved.execute("INSERT INTO notes VALUES ('the last of the day')")
    moment, wanted = saved.now(), saved.sums()
    saved.execute("SELECT pg_switch_wal()")
    with pytest.raises(RecoveryError, match="recovery ended before configured recovery target"):
        saved.restored(moment)

    saved.archived()  # with a heartbeat
    assert saved.restored(moment) == wanted


@pytest.mark.parametrize("saved", [EXERCISE, NEWEST, OLDER], indirect=True)
def test_a_restored_server_goes_on_archiving_on_a_timeline_of_its_own(saved: Shop) -> None:
    """The lost server: the copy becomes the server, and everything before and after it is there."""
    full = saved.tool.run(Kind.FULL)
    saved.execute("INSERT INTO notes VALUES ('before')")
    name, before = saved.point("end of the first life"), saved.sums()
    saved.execute("INSERT INTO notes VALUES ('lost with the server')")
    saved.archived()
    saved.server.stop()
    lost = saved.server.data.rename(saved.folder / "lost")
    saved.server.data.mkdir(mode=0o700)
    own(saved.server.data, lost)
    saved.tool.restore(saved.server.data, name, full, takes_over=True)
    own(saved.server.data, lost)
    saved.server.start()
    saved.wait(lambda: not saved.execute("SELECT pg_is_in_recovery()"))
    assert saved.sums() == before
    saved.execute("INSERT INTO notes VALUES ('after')")
    after = saved.sums()
    end = saved.archived()

    assert end.startswith("00000002")
    with connected(saved.server.url) as connection:
        state = (describe(connection), archiving(connection))
    assert gap(saved.tool.backups(), saved.tool.archive(), *state) == []
    assert saved.restored(Target("latest"), full) == after
    # Of a backup of the first life the drill follows the server into the second.
    report = drill(saved.settings, saved.tool)
    assert report.ok, [step.said for step in report.steps if not step.ok]
    saved.tool.run(Kind.FULL)
    saved.archived()
    assert saved.restored(Target("latest")) == after
