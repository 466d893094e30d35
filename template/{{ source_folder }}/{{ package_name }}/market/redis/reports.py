"""The daily report as a task: a worker makes it, every morning or when somebody asks."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from taskiq import TaskiqDepends

from ...data_layer.database import Database
from ...data_layer.redis.queue import task
from .. import queries

ROWS = TypeAdapter(list[queries.Turnover])


@task("market.daily-report", attempts=5, backoff=30, timeout=120, schedule="30 6 * * 1-5")
async def daily_report(
    day: date | None = None, *, database: Database = TaskiqDepends()
) -> list[dict[str, Any]]:
    """What was traded on a day (UTC), by instrument; by default on the day before today.

    It only reads, so it may run twice. A task that writes should take the id of its row from its
    arguments, and let a unique constraint refuse the second row.
    """
    day = day or datetime.now(UTC).date() - timedelta(days=1)
    since = datetime.combine(day, datetime.min.time(), UTC)
    async with database.read_only() as session:
        rows = await queries.turnover(session, since=since, until=since + timedelta(days=1))
    report: list[dict[str, Any]] = ROWS.dump_python(rows, mode="json")
    return report
