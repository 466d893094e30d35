"""Data in Redis that can be made again: the cache, keys, times to live, and the store."""

from .cache import Cache, cached
from .errors import InvalidKey, InvalidTimeToLive, RedisLayerError, RedisUnavailable
from .keys import Key, TimeToLive, digest
from .policies import Computed, Configuration, InvalidPolicy, Source, UserData
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
    "RedisLayerError",
    "RedisSettings",
    "RedisUnavailable",
    "Source",
    "Store",
    "TimeToLive",
    "UserData",
    "cached",
    "digest",
]
