"""What the retention needs stays, by a clock that is moved; what it does not is gone."""

from datetime import UTC, datetime, timedelta

from my_project.data_layer.recovery import Kind
from my_project.data_layer.recovery.exercise import Exercise
from tests.layer.recovery.conftest import Shop


def test_any_moment_of_the_retention_stays_restorable(living: Shop) -> None:
    first = living.tool.run(Kind.FULL)
    living.tool.run(Kind.INCREMENTAL)
    second = living.tool.run(Kind.FULL)
    living.execute("INSERT INTO notes VALUES ('seven days ago')")
    third = living.tool.run(Kind.INCREMENTAL)
    moment, then = living.now(), living.sums()
    living.execute("DELETE FROM orders")
    last = living.archived()
    names = living.tool.archive().segments

    Exercise(living.settings).expire(datetime.now(UTC) + timedelta(days=6))
    assert len(living.tool.backups()) == 4
    assert living.tool.archive().segments == names

    # Eight days on: the second one is older than all of the seven days, so the first is not needed.
    Exercise(living.settings).expire(datetime.now(UTC) + timedelta(days=8))
    assert living.tool.backups() == [second, third]
    kept = living.tool.archive().segments
    assert min(kept) == second.start
    assert first.start not in kept
    assert last in kept
    assert living.tool.verify() == []
    assert living.restored(moment) == then
