"""What the queue can't do, in sentences."""

from ...errors import DataLayerError


class QueueError(DataLayerError):
    """Base of the queue's errors."""


class InvalidTask(QueueError):
    """A task that is declared wrongly."""


class QueueFull(QueueError):
    """The queue holds what `REDIS_QUEUE_MAX_JOBS` or the memory allow; this job was not taken."""


class JobTooLarge(QueueError):
    """The job has more than `REDIS_QUEUE_MAX_JOB_BYTES`; it was not taken."""


class QueueUnreachable(QueueError):
    """Redis did not take the job, or did not say so: sending it again is right only with `once`."""
