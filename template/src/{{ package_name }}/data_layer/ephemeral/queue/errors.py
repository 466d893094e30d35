"""What the queue can't do, in sentences."""

from ...errors import DataLayerError


class QueueError(DataLayerError):
    """Base of the queue's errors."""


class QueueFull(QueueError):
    """The queue holds as many jobs as `REDIS_QUEUE_MAX_JOBS` allows; this one was not taken."""


class QueueUnreachable(QueueError):
    """Redis did not take the job, or did not say so: sending it again is right only with `once`."""
