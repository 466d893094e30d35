"""Many rows at once: COPY in, and an upsert through a staging table (DL-SQL-02)."""

from .copy import copy_in
from .upsert import Upserted, upsert

__all__ = ["Upserted", "copy_in", "upsert"]
