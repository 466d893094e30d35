"""The error of this module."""

from ..errors import DataLayerError


class TimescaleDBError(DataLayerError):
    """A declaration, a migration or a backfill that would not do what it says."""
