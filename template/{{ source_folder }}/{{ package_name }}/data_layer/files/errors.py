"""The errors of this module."""

from ..errors import DataLayerError


class FilesError(DataLayerError):
    """A path, a file, a download or a remote that is not what it should be."""


class WrongHash(FilesError):
    """A download has another hash than expected; nothing was replaced."""
