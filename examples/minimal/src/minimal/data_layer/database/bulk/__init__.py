"""Many rows at once: COPY in, COPY out, and an upsert through a staging table (DL-SQL-02)."""

from .copy import copy_in, copy_out
from .upsert import Upserted, upsert

__all__ = ["Upserted", "copy_in", "copy_out", "upsert"]
