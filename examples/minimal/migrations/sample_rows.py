"""Values for the rows with which the tests try every migration.

The tests make rows for each table by themselves. Where a check constraint wants particular values,
give them here: by table, one mapping of columns for each row, used in turn. Columns that a
revision doesn't have yet, or no more, are left out.
"""

from typing import Any

SAMPLE_ROWS: dict[str, list[dict[str, Any]]] = {}
