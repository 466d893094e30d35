"""Ephemeral data for the HTTP API: what opens with the application, and dependencies of routes."""

from .resources import (
    CacheDependency,
    StoreDependency,
    cache_of,
    ephemeral_resources,
    store_of,
)

__all__ = [
    "CacheDependency",
    "StoreDependency",
    "cache_of",
    "ephemeral_resources",
    "store_of",
]
