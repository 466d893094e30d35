"""Large data as files: the data tree, names, formats, downloads, a remote with a local cache."""

from ..series import InvalidSeriesName, Series, SeriesName
from .coverage import Gap, Overlap, gaps, overlaps
from .downloads import Download, fetch
from .errors import FilesError, WrongHash
from .formats import batches, read_json, row_count, write, write_json
from .manifest import Entry, Manifest
from .remote import Remote
from .settings import FilesSettings
from .tree import DataTree, Folder

__all__ = [
    "DataTree",
    "Download",
    "Entry",
    "FilesError",
    "FilesSettings",
    "Folder",
    "Gap",
    "InvalidSeriesName",
    "Manifest",
    "Overlap",
    "Remote",
    "Series",
    "SeriesName",
    "WrongHash",
    "batches",
    "fetch",
    "gaps",
    "overlaps",
    "read_json",
    "row_count",
    "write",
    "write_json",
]
