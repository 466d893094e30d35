"""DuckDB: exports to Parquet, queries over the lake, results back into PostgreSQL."""

from ..database.sql import sql_file
from .declarations import Export, Period, export_named, exports
from .errors import DuckDBError
from .export import Exported, Progress, export
from .lake import Lake, LakeFile
from .query import Analysis, analysis
from .settings import DuckDBSettings
from .writeback import WrittenBack, write_back

__all__ = [
    "Analysis",
    "DuckDBError",
    "DuckDBSettings",
    "Export",
    "Exported",
    "Lake",
    "LakeFile",
    "Period",
    "Progress",
    "WrittenBack",
    "analysis",
    "export",
    "export_named",
    "exports",
    "sql_file",
    "write_back",
]
