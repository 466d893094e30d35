"""What can go wrong with ephemeral data, each with a sentence that says what to do."""

from ..errors import DataLayerError


class RedisLayerError(DataLayerError):
    """The root of the errors of this module."""


class InvalidKey(RedisLayerError):
    """A key, or a part of one, that can't be or isn't of the format."""


class InvalidTimeToLive(RedisLayerError):
    """A time to live that is too short, or too long for what can be made again."""


class RedisUnavailable(RedisLayerError):
    """Redis did not answer, or failed so often that it is left alone for a moment."""
