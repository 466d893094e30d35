"""What can go wrong with data in Redis; each message says what to do."""

from ..errors import DataLayerError


class RedisLayerError(DataLayerError):
    """The root of the errors of this module."""


class InvalidKey(RedisLayerError):
    """A key, or a part of one, is not of the format."""


class InvalidTimeToLive(RedisLayerError):
    """A time to live is too short, or too long for what can be made again."""


class InvalidPolicy(RedisLayerError):
    """A policy contradicts the rule of its kind of data."""


class RedisUnavailable(RedisLayerError):
    """Redis did not answer, or failed so often that the breaker holds operations back."""


class NotJson(RedisLayerError, ValueError):
    """JSON does not have this value; the message says where it is."""


class QueueError(RedisLayerError):
    """The root of the errors of the queue."""


class InvalidTask(QueueError):
    """A task is declared wrongly."""


class QueueFull(QueueError):
    """The queue holds as much as `REDIS_QUEUE_MAX_JOBS` or its memory allow; it took no job."""


class JobTooLarge(QueueError):
    """The job has more than `REDIS_QUEUE_MAX_JOB_BYTES`; the queue did not take it."""


class QueueUnreachable(QueueError):
    """Redis did not confirm that it has the job: send the job again only with `once`."""
