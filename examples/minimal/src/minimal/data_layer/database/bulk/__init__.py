"""Many rows at once: COPY in, and an upsert through a staging table (DL-SQL-02)."""

from .copy import copy_in
from .upsert import UPSERT_SETTINGS, Upserted, upsert

__all__ = ["UPSERT_SETTINGS", "Upserted", "copy_in", "upsert"]
