"""Values for the rows with which the tests try every migration.

The tests make rows for each table by themselves. Where a check constraint wants particular values,
give them here: by table, one mapping of columns for each row; the tests use the mappings in turn.
They leave out columns that a revision doesn't have yet, or no more.
"""

from typing import Any

SAMPLE_ROWS: dict[str, list[dict[str, Any]]] = {}
