"""Ephemeral data for the HTTP API: what opens with the application, and dependencies of routes."""

from .events import LastEventId, LiveDependency, events, live_of, subscription_to
from .limits import LimiterDependency, QuotaExceeded, client_address, limited, limiter_of
from .resources import (
    QueueDependency,
    StoreDependency,
    ephemeral_resources,
    queue_of,
    store_of,
)
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
    "CrossSite",
    "LastEventId",
    "LimiterDependency",
    "LiveDependency",
    "NotSignedIn",
    "OptionalSession",
    "QueueDependency",
    "QuotaExceeded",
    "Session",
    "SessionRequired",
    "SessionSettings",
    "Sessions",
    "SessionsDependency",
    "StoreDependency",
    "client_address",
    "ephemeral_resources",
    "events",
    "limited",
    "limiter_of",
    "live_of",
    "queue_of",
    "refuse_cross_site",
    "sessions_of",
    "store_of",
    "subscription_to",
]
