"""Redis in the HTTP API: limits, sessions, cached responses, live messages."""

from .events import LastEventId, LiveDependency, events, live_of, subscription_to
from .limits import LimiterDependency, QuotaExceeded, client_address, limited, limiter_of
from .resources import (
    CacheDependency,
    QueueDependency,
    StoreDependency,
    cache_of,
    queue_of,
    redis_resources,
    store_of,
)
from .responses import Representation, respond
from .sessions import (
    CrossSite,
    NotSignedIn,
    OptionalSession,
    Session,
    SessionRequired,
    Sessions,
    SessionsDependency,
    SessionSettings,
    refuse_cross_site,
    sessions_of,
)

__all__ = [
    "CacheDependency",
    "CrossSite",
    "LastEventId",
    "LimiterDependency",
    "LiveDependency",
    "NotSignedIn",
    "OptionalSession",
    "QueueDependency",
    "QuotaExceeded",
    "Representation",
    "Session",
    "SessionRequired",
    "SessionSettings",
    "Sessions",
    "SessionsDependency",
    "StoreDependency",
    "cache_of",
    "client_address",
    "events",
    "limited",
    "limiter_of",
    "live_of",
    "queue_of",
    "redis_resources",
    "refuse_cross_site",
    "respond",
    "sessions_of",
    "store_of",
    "subscription_to",
]
