"""Ephemeral data in Redis: keys, times to live, and the one door to the server."""

from .errors import EphemeralError, InvalidKey, InvalidTimeToLive, RedisUnavailable
from .keys import Key, digest
from .lifetime import TimeToLive
from .settings import RedisSettings
from .store import Store

__all__ = [
    "EphemeralError",
    "InvalidKey",
    "InvalidTimeToLive",
    "Key",
    "RedisSettings",
    "RedisUnavailable",
    "Store",
    "TimeToLive",
    "digest",
]
