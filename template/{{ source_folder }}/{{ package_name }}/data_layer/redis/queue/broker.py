"""The queue on a Redis stream: a job is deleted when it is done, and no sooner.

taskiq sends, runs and times the jobs; the broker below keeps them. docs/decisions says why it is
not taskiq's own broker for Redis.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from redis.exceptions import OutOfMemoryError, RedisClusterException, RedisError, ResponseError
from taskiq import AckableMessage, AsyncBroker, BrokerMessage, TaskiqMessage

from ..connection import Client, is_cancelled, script
from ..errors import JobTooLarge, QueueFull, QueueUnreachable
from ..keys import Key
from ..settings import QueueSettings

logger = logging.getLogger(__name__)

GROUP = "workers"
BLOCK = 1.0
TIDY_EVERY = 0.25
PROMOTED_AT_ONCE = 100
LONGEST_PAUSE = 5.0
GONE_AFTER = 3_600_000
"""Milliseconds of silence after which a worker without jobs is removed from the group."""

# Whatever Redis may answer while it restarts, fails over or is rearranged.
TROUBLE = (RedisError, RedisClusterException, OSError)


class StreamBroker(AsyncBroker):
    """Jobs in one stream with one group of workers.

    - A job is deleted when it is acknowledged, so the stream's length is the backlog. The stream is
      never trimmed, since that would drop jobs that nobody has done: a full queue refuses new jobs.
    - A worker sends heartbeats while it works, so nobody takes a long job from it. Another worker
      takes over the jobs of a dead one after `claim_after`, whether or not new jobs arrive.
    - A worker leaves a job that it can't read or does not know to another worker; when nobody does
      it, it becomes a dead letter.

    Attributes:
        client: the client of the server.
        settings: of the queue.
        places: bounds how many commands run at once, except those of a worker.
        jobs, delayed, dead: keys in one slot of a cluster, so that a script may use all of them.
        consumer: the name of this worker.
    """

    def __init__(
        self, client: Client, settings: QueueSettings, service: str, places: asyncio.Semaphore
    ) -> None:
        super().__init__()
        self.client = client
        self.settings = settings
        self.places = places
        self._key = Key(service, "queue", settings.name)
        self.jobs = str(self._key)
        self.delayed = self._key.companion("delayed")
        self.dead = self._key.companion("dead")
        self.consumer = secrets.token_hex(8)
        self._running: set[bytes] = set()
        self._alive: asyncio.Task[None] | None = None
        self._enqueue, self._tidy, self._heartbeat, self._state = (
            script(client, name) for name in ("enqueue", "tidy", "heartbeat", "state")
        )

    def once(self, job_id: str) -> str:
        """The key that marks an idempotency key as used."""
        return self._key.companion(f"once-{job_id[:24]}")

    def result(self, job_id: str) -> str:
        """The key of what the job returned."""
        return str(Key(self._key.service, "queue-result", f"{self.settings.name}/{job_id}"))

    async def startup(self) -> None:
        """Start as taskiq does; a worker begins its heartbeats."""
        await super().startup()
        if self.is_worker_process:
            self._alive = asyncio.create_task(self._say_alive())

    async def kick(self, message: BrokerMessage) -> None:
        """Enqueue the job.

        Raises:
            QueueFull, JobTooLarge: the queue did not take it.
            QueueUnreachable: the queue may have taken it or not.
        """
        settings, labels, name = self.settings, message.labels, message.task_name
        if (size := len(message.message)) > settings.max_job_bytes:
            raise JobTooLarge(
                f"A job of {name} has {size:,} bytes, more than {settings.max_job_bytes:,}; send "
                "where its data are instead of the data, or raise REDIS_QUEUE_MAX_JOB_BYTES."
            )
        # A job that is tried again has its place in the queue already.
        again = "attempt" in labels
        most = 0 if again else settings.max_jobs
        once = settings.once_ttl if "once" in labels and not again else 0
        try:
            async with self.places:
                taken, copies = await self._take_in(message, most=most, once=once)
        except OutOfMemoryError as error:
            raise QueueFull(
                f"The server of the queue has no memory left, and did not take {name}. Start more "
                "workers, or raise REDIS_QUEUE_MAXMEMORY."
            ) from error
        except TROUBLE as error:
            raise QueueUnreachable(
                f"The queue did not take {name}: {type(error).__name__}. See REDIS_QUEUE_URL and "
                "`check --only DL-RD`."
            ) from error
        if copies < settings.replicas:
            raise QueueUnreachable(
                f"The queue took {name}, but {copies} of {settings.replicas} replicas have it; a "
                "failover might lose it. See REDIS_QUEUE_REPLICAS."
            )
        if taken == -1:
            raise QueueFull(
                f"The queue {settings.name} holds {settings.max_jobs:,} jobs, and did not take "
                f"{name}. Start more workers, or raise REDIS_QUEUE_MAX_JOBS."
            )

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """The jobs for this worker, one at a time; it waits while Redis is down."""
        pause = due = 0.0
        while not is_cancelled():
            try:
                entry = None
                if monotonic() >= due:
                    entry = await self._abandoned()
                    # While there are abandoned jobs they go first.
                    due = 0.0 if entry else monotonic() + TIDY_EVERY
                entry = entry or await self._next()
                pause = 0.0
            except TROUBLE as error:
                if str(error).startswith("NOGROUP") and await self._make_group():
                    continue
                pause = min(max(2 * pause, 0.1), LONGEST_PAUSE)
                logger.warning("The queue can't be read: %s", str(error) or type(error).__name__)
                await asyncio.sleep(pause)
                continue
            if entry is not None and self._is_known(entry[1]):
                identifier, job = entry
                self._running.add(identifier)
                yield AckableMessage(data=job, ack=partial(self._acknowledge, identifier))

    async def shutdown(self) -> None:
        """Leave the group, unless another worker must take over jobs of this one."""
        await super().shutdown()
        if self._alive is None:
            return
        # The heartbeats end no sooner: jobs that run while the worker stops must stay with it.
        self._alive.cancel()
        await asyncio.wait([self._alive])
        with suppress(*TROUBLE):
            if not await self.client.xpending_range(self.jobs, GROUP, "-", "+", 1, self.consumer):
                await self.client.xgroup_delconsumer(self.jobs, GROUP, self.consumer)

    async def bury(self, message: TaskiqMessage, reason: str) -> None:
        """Keep the job as a dead letter, with the reason."""
        job, most = self.formatter.dumps(message).message, self.settings.max_dead_letters
        await self.client.xadd(
            self.dead, {"job": job, "reason": reason}, maxlen=most, approximate=False
        )
        await self.client.expire(self.dead, self.settings.retention)

    async def requeue(self, letter: bytes, message: TaskiqMessage) -> bool:
        """Move a dead letter back into the queue; False when somebody else has done so."""
        taken, _ = await self._take_in(self.formatter.dumps(message), letter=letter)
        return taken == 1

    async def inspect(self) -> list[int]:
        """Jobs, running, delayed, dead letters, workers, age of the oldest job in milliseconds."""
        keys = [self.jobs, self.delayed, self.dead]
        found: list[int] = await self._state(keys=keys, args=[GROUP])
        return found

    async def _take_in(
        self, message: BrokerMessage, *, most: int = 0, once: int = 0, letter: bytes = b""
    ) -> tuple[int, int]:
        """What `enqueue.lua` returned, and how many replicas have what it wrote.

        Args:
            message: the job.
            most: jobs that the queue may hold; 0 for no bound.
            once: seconds that the job's id is remembered; 0 for a job that may be sent again.
            letter: the dead letter that becomes the job.
        """
        settings = self.settings
        delay = round(float(message.labels.get("delay", 0)) * 1000)
        keys = [self.jobs, self.delayed, self.once(message.task_id), self.dead]
        arguments: list[bytes | int] = [message.message, delay, most, once, settings.retention]
        arguments.append(letter)
        if not settings.replicas:
            return await self._enqueue(keys=keys, args=arguments), 0
        # WAIT counts what was written on its own connection.
        async with self.client.pipeline(transaction=False) as pipe:
            pipe.eval(str(self._enqueue.script), len(keys), *keys, *arguments)
            pipe.wait(settings.replicas, round(settings.timeout * 500))
            taken, copies = await pipe.execute()
        return taken, copies

    async def _abandoned(self) -> tuple[bytes, bytes] | None:
        """Move delayed jobs that are due into the stream; returns a job to take over, or None."""
        settings = self.settings
        silence = round(settings.claim_after * 1000)
        kept = (settings.max_deliveries, settings.max_dead_letters, settings.retention)
        entry: Any = await self._tidy(
            keys=[self.jobs, self.delayed, self.dead],
            args=[GROUP, self.consumer, silence, *kept, PROMOTED_AT_ONCE],
        )
        if not entry:
            return None
        logger.warning("Took over job %s of a worker that is silent.", entry[0].decode())
        return entry[0], entry[1][1]

    async def _next(self) -> tuple[bytes, bytes] | None:
        found: Any = await self.client.xreadgroup(
            GROUP, self.consumer, {self.jobs: ">"}, count=1, block=round(BLOCK * 1000)
        )
        if not found:
            return None
        [(_, [(identifier, fields)])] = found
        return identifier, fields.get(b"job", b"")

    async def _make_group(self) -> bool:
        # From 0: a job may have been sent before the first worker came.
        with suppress(ResponseError):  # another worker has just made it
            await self.client.xgroup_create(self.jobs, GROUP, id="0", mkstream=True)
        with suppress(*TROUBLE):
            return bool(await self.client.expire(self.jobs, self.settings.retention))
        return False

    def _is_known(self, job: bytes) -> bool:
        # taskiq acknowledges a job that it can't read or does not know, and the job would be lost.
        # During a deployment another worker may know it.
        try:
            message = self.formatter.loads(job)
            message.parse_labels()
        except (ValueError, TypeError, KeyError):
            logger.error("A job can't be read; it is left to another worker.")
            return False
        if self.find_task(message.task_name) is None:
            logger.error(
                "No task is called %s here; its job is left to another worker.", message.task_name
            )
            return False
        return True

    async def _acknowledge(self, identifier: bytes) -> None:
        # The work is done. Try again while the server restarts, or the job would be done twice.
        deadline = monotonic() + self.settings.claim_after
        while True:
            try:
                # Deleted too: a stream keeps acknowledged entries for ever.
                async with self.client.pipeline(transaction=True) as pipe:
                    pipe.xack(self.jobs, GROUP, identifier)
                    pipe.xdel(self.jobs, identifier)
                    await pipe.execute()
            except TROUBLE:
                if monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    def let_go(self, message: bytes | AckableMessage) -> None:
        """End the heartbeats for a job that has ended, whether it was acknowledged or not."""
        if isinstance(message, AckableMessage) and isinstance(message.ack, partial):
            self._running.discard(*message.ack.args)

    async def _say_alive(self) -> None:
        while not is_cancelled():
            await asyncio.sleep(self.settings.claim_after / 4)
            with suppress(*TROUBLE):
                await self._heartbeat(
                    keys=[self.jobs], args=[GROUP, self.consumer, GONE_AFTER, *self._running]
                )
