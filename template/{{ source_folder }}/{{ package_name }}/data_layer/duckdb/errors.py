"""The error of this module."""

from ..errors import DataLayerError


class DuckDBError(DataLayerError):
    """An export, a query or a write-back that can't do what it says; nothing half is left."""
