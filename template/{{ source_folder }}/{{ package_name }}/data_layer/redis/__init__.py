"""Data in Redis that can be made again: the cache, keys, times to live, and the store."""

from .cache import Cache
from .errors import (
    InvalidKey,
    InvalidPolicy,
    InvalidTimeToLive,
    NotJson,
    RedisLayerError,
    RedisUnavailable,
)
from .keys import Key, TimeToLive, digest
from .policies import Computed, Configuration, Source, UserData
from .settings import RedisSettings
from .store import Store

__all__ = [
    "Cache",
    "Computed",
    "Configuration",
    "InvalidKey",
    "InvalidPolicy",
    "InvalidTimeToLive",
    "Key",
    "NotJson",
    "RedisLayerError",
    "RedisSettings",
    "RedisUnavailable",
    "Source",
    "Store",
    "TimeToLive",
    "UserData",
    "digest",
]
