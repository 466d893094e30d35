"""Redis in the HTTP API: limits, sessions, cached responses, live messages."""

from .events import events, subscription_to
from .limits import QuotaExceeded, client_address, limited
from .resources import (
    CacheDependency,
    LiveDependency,
    QueueDependency,
    SessionsDependency,
    StoreDependency,
    redis_resources,
)
from .responses import Representation, respond
from .sessions import CrossSite, NotSignedIn, OptionalSession, Session, SessionRequired

__all__ = [
    "CacheDependency",
    "CrossSite",
    "LiveDependency",
    "NotSignedIn",
    "OptionalSession",
    "QueueDependency",
    "QuotaExceeded",
    "Representation",
    "Session",
    "SessionRequired",
    "SessionsDependency",
    "StoreDependency",
    "client_address",
    "events",
    "limited",
    "redis_resources",
    "respond",
    "subscription_to",
]
