"""Ephemeral data for the HTTP API: what opens with the application, and dependencies of routes."""

from .resources import StoreDependency, ephemeral_resources, store_of

__all__ = ["StoreDependency", "ephemeral_resources", "store_of"]
