"""The names of what one queue keeps in Redis."""

from ..keys import Key


class QueueKeys:
    """All that a script touches together is in one slot of a cluster."""

    def __init__(self, service: str, queue: str) -> None:
        self._service = service
        self._queue = queue
        key = Key(service, "queue", queue)
        self.jobs = str(key)
        self.delayed = key.companion("delayed")
        self.dead = key.companion("dead")
        self._key = key

    def once(self, job_id: str) -> str:
        """The marker of an idempotency key."""
        return self._key.companion(f"once-{job_id[:24]}")

    def result(self, job_id: str) -> str:
        """What the job returned."""
        return str(Key(self._service, "queue-result", f"{self._queue}/{job_id}"))
