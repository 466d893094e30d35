"""What `check` asks about the task queue: DL-RD-20 and DL-RD-21."""

from collections.abc import Callable
from datetime import timedelta

from ...checklist import Check, Finding, advice, failed, passed
from ...project import COMMAND
from ...settings import load
from ..checks import patient
from ..settings import QueueSettings, RedisSettings
from .queue import Queue, QueueState

# Fuller than that, a burst would be refused; older than that, somebody waits for the job.
NEARLY_FULL = 0.8
OLD = 3600.0


def queue_checks() -> list[Check]:
    """The checks of the task queue, in the order of the report."""

    def check(
        identifier: str,
        title: str,
        judge: Callable[[QueueState, QueueSettings], Finding],
        *figures: str,
        required: bool = True,
    ) -> Check:
        async def probe() -> Finding:
            settings = load(RedisSettings)
            if settings.queue_url is None:
                return passed("REDIS_QUEUE_URL is not set, so there is no queue.")
            async with Queue.open(patient(settings)) as queue:
                state = await queue.state()
                measured = {name: getattr(state, name) for name in figures}
                return judge(state, queue.broker.settings).measured(measured)

        return Check(identifier, title, probe, required)

    return [
        check(
            *("DL-RD-20", "Jobs are done and don't pile up", _backlog),
            *("jobs", "running", "delayed", "workers", "oldest"),
        ),
        check(
            *("DL-RD-21", "No dead letter waits for anybody", _dead_letters, "dead"),
            required=False,
        ),
    ]


def _backlog(state: QueueState, settings: QueueSettings) -> Finding:
    evidence = (
        f"{state.jobs:,} jobs ({state.running:,} running, the oldest of all "
        f"{timedelta(seconds=round(state.oldest))} old), {state.delayed:,} delayed, "
        f"{state.workers} workers."
    )
    start = f"Start workers: uv run {COMMAND} queue worker"
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


def _dead_letters(state: QueueState, settings: QueueSettings) -> Finding:
    look = (
        f"Look at them with `uv run {COMMAND} queue dead-letters ls`, mend the cause, and put "
        "them back with `… dead-letters retry --all`."
    )
    if state.dead >= settings.max_dead_letters:
        return failed(f"{state.dead:,} dead letters; the queue drops the oldest.", look)
    if state.dead:
        return advice(f"{state.dead:,} dead letters.", look)
    return passed("There is no dead letter.")
