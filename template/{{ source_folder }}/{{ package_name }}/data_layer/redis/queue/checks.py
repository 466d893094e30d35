"""What `check` asks about the task queue: DL-RD-20 and DL-RD-21."""

from dataclasses import dataclass
from datetime import timedelta

from ...checklist import Check, Finding, advice, failed, passed, survey
from ...project import COMMAND
from ...settings import load
from ..checks import patient
from ..settings import QueueSettings, RedisSettings
from .queue import Queue, QueueState

# In a fuller queue, a burst would be refused. For a job older than that (seconds), somebody waits.
NEARLY_FULL = 0.8
OLD = 3600.0


@dataclass(frozen=True, slots=True)
class _Facts:
    state: QueueState
    settings: QueueSettings


def queue_checks() -> list[Check]:
    """The checks of the task queue, in the order of the report."""
    asked = survey(_ask)
    return [
        Check("DL-RD-20", "Jobs are done and don't pile up", asked(_backlog)),
        Check("DL-RD-21", "No dead letter waits for anybody", asked(_dead_letters), required=False),
    ]


async def _ask() -> _Facts | Finding:
    settings = load(RedisSettings)
    if settings.queue_url is None:
        return passed("REDIS_QUEUE_URL is not set, so there is no queue.")
    async with Queue.open(patient(settings)) as queue:
        return _Facts(await queue.state(), queue.broker.settings)


def _backlog(facts: _Facts) -> Finding:
    state, settings = facts.state, facts.settings
    evidence = (
        f"{state.jobs:,} jobs ({state.running:,} running, the oldest of all "
        f"{timedelta(seconds=round(state.oldest))} old), {state.delayed:,} delayed, "
        f"{state.workers} workers."
    )
    start = f"Start workers: uv run {COMMAND} queue worker"
    found = passed(evidence)
    if state.jobs and not state.workers and state.oldest > settings.claim_after:
        found = failed(f"{evidence} Nobody does them.", start)
    elif state.jobs + state.delayed >= settings.max_jobs * NEARLY_FULL:
        found = failed(
            f"{evidence} At {settings.max_jobs:,} the queue refuses.",
            f"{start}, or raise REDIS_QUEUE_MAX_JOBS and the server's maxmemory.",
        )
    elif state.oldest > OLD:
        found = advice(f"{evidence} That is older than an hour.", start)
    figures = ("jobs", "running", "delayed", "workers", "oldest")
    return found.measured({name: getattr(state, name) for name in figures})


def _dead_letters(facts: _Facts) -> Finding:
    dead = facts.state.dead
    look = (
        f"Look at them with `uv run {COMMAND} queue dead-letters ls`, mend the cause, and put "
        "them back with `… dead-letters retry --all`."
    )
    found = passed("There is no dead letter.")
    if dead >= facts.settings.max_dead_letters:
        found = failed(f"{dead:,} dead letters; the queue drops the oldest.", look)
    elif dead:
        found = advice(f"{dead:,} dead letters.", look)
    return found.measured({"dead": dead})
