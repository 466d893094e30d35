"""The error of this module."""

from ..errors import DataLayerError


class FilesError(DataLayerError):
    """A name, a file, a download or a remote that is not what it should be."""
