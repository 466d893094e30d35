"""DuckDB: exports to Parquet, queries over the lake, results back into PostgreSQL."""

from .declarations import Export, export_named, exports
from .errors import AnalyticsError
from .export import Exported, Progress, export
from .lake import Lake, LakeFile, Layout, PlainLayout, SeriesFile
from .period import Period
from .query import Analysis, analysis, sql_file
from .settings import AnalyticsSettings
from .writeback import WrittenBack, write_back

__all__ = [
    "Analysis",
    "AnalyticsError",
    "AnalyticsSettings",
    "Export",
    "Exported",
    "Lake",
    "LakeFile",
    "Layout",
    "Period",
    "PlainLayout",
    "Progress",
    "SeriesFile",
    "WrittenBack",
    "analysis",
    "export",
    "export_named",
    "exports",
    "sql_file",
    "write_back",
]
