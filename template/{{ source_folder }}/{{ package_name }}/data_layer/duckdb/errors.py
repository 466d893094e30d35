"""The error of this module."""

from ..errors import DataLayerError


class DuckDBError(DataLayerError):
    """An export, a query or a write-back can't do what it promises; it leaves nothing half done."""
