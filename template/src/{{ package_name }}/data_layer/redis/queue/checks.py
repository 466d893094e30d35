"""What `check` asks about the task queue: DL-RD-20 and DL-RD-21."""

from datetime import timedelta

from ...checklist import Check, Finding, advice, failed, passed
from ...settings import load
from ..settings import RedisSettings
from .queue import Queue, QueueState
from .settings import QueueSettings

PROGRAM = __name__.partition(".")[0].replace("_", "-")
# Fuller than that, a burst would be refused; older than that, somebody waits for the job.
NEARLY_FULL = 0.8
OLD = 3600.0


def queue_checks() -> list[Check]:
    """The checks of the task queue, in the order of the report."""
    return [
        Check("DL-RD-20", "Jobs are done and don't pile up", _backlog),
        Check("DL-RD-21", "No dead letter waits for anybody", _dead_letters, required=False),
    ]


async def _state() -> tuple[QueueState, QueueSettings] | None:
    if load(RedisSettings).queue_url is None:
        return None
    async with Queue.open() as queue:
        return await queue.state(), queue.broker.settings


async def _backlog() -> Finding:
    found = await _state()
    if found is None:
        return passed("REDIS_QUEUE_URL is not set, so there is no queue.")
    state, settings = found
    evidence = (
        f"{state.jobs:,} jobs ({state.running:,} running, the oldest of all "
        f"{timedelta(seconds=round(state.oldest))} old), {state.delayed:,} delayed, "
        f"{state.workers} workers."
    )
    start = f"Start workers: uv run {PROGRAM} queue worker"
    if state.jobs and not state.workers and state.oldest > settings.claim_after:
        return failed(f"{evidence} Nobody does them.", start)
    if state.jobs + state.delayed >= settings.max_jobs * NEARLY_FULL:
        return failed(
            f"{evidence} At {settings.max_jobs:,} the queue refuses.",
            f"{start}, or raise REDIS_QUEUE_MAX_JOBS and the server's maxmemory.",
        )
    if state.oldest > OLD:
        return advice(f"{evidence} That is older than an hour.", start)
    return passed(evidence)


async def _dead_letters() -> Finding:
    found = await _state()
    if found is None:
        return passed("REDIS_QUEUE_URL is not set, so there is no queue.")
    state, settings = found
    look = (
        f"Look at them with `uv run {PROGRAM} queue dead-letters ls`, mend the cause, and put "
        "them back with `… dead-letters retry --all`."
    )
    if state.dead >= settings.max_dead_letters:
        return failed(f"{state.dead:,} dead letters; the oldest are being dropped.", look)
    if state.dead:
        return advice(f"{state.dead:,} dead letters.", look)
    return passed("There is no dead letter.")
