"""TimescaleDB: hypertables and continuous aggregates beside the models, backfills, checks."""

from .declarations import (
    KEEP,
    ContinuousAggregate,
    Hypertable,
    aggregates_of,
    first,
    last,
    time_bucket,
)
from .errors import TimescaleDBError
from .ingest import Backfilled, backfill, refresh

__all__ = [
    "KEEP",
    "Backfilled",
    "ContinuousAggregate",
    "Hypertable",
    "TimescaleDBError",
    "aggregates_of",
    "backfill",
    "first",
    "last",
    "refresh",
    "time_bucket",
]
