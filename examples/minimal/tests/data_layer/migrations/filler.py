"""Rows for any table, made from what the database says about it.

Migrations must work on tables with rows in them; this makes rows for tables that nobody knows yet.
Values that a check constraint accepts can't be guessed: the project gives them in
`migrations/sample_rows.py`.
"""

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

Samples = Mapping[str, Sequence[Mapping[str, Any]]]

START = datetime(2024, 1, 1, tzinfo=UTC)


def sample_rows(folder: Path) -> Samples:
    """The values of `sample_rows.py` in the folder of `env.py`; empty if there is no such file."""
    path = folder / "sample_rows.py"
    spec = importlib.util.spec_from_file_location("sample_rows", path)
    if spec is None or spec.loader is None or not path.exists():
        return {}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    samples: Samples = module.SAMPLE_ROWS
    return samples


def fill(connection: sa.Connection, samples: Samples, count: int = 3) -> None:
    """Insert `count` more rows into every table; parents first."""
    metadata = sa.MetaData()
    with warnings.catch_warnings():
        # The type of an extension: its column stays empty, or the project gives its values.
        warnings.filterwarnings("ignore", "Did not recognize type", sa.exc.SAWarning)
        # SQLAlchemy 2.1 says this of every check constraint that is NOT VALID.
        warnings.filterwarnings("ignore", "Can't validate argument 'dialect_options'")
        metadata.reflect(connection)
    for table in metadata.sorted_tables:
        if table.name == "alembic_version":
            continue
        start = connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for number in range(start, start + count):
            row = _row(connection, table, number)
            given = samples.get(table.name, ())
            if given:
                chosen = given[number % len(given)]
                row |= {name: value for name, value in chosen.items() if name in table.columns}
            try:
                connection.execute(table.insert().values(row))
            except sa.exc.IntegrityError as error:
                reason = str(error.orig).partition("\n")[0]
                pytest.fail(
                    f"The migration tests can't make a row for {table.name}: {reason}. Put values "
                    f'that it accepts under "{table.name}" into migrations/sample_rows.py.',
                    pytrace=False,
                )


def _row(connection: sa.Connection, table: sa.Table, number: int) -> dict[str, Any]:
    row = {
        column.name: _value(column, number)
        for column in table.columns
        if column.server_default is None and column.identity is None and column.computed is None
    }
    for key in table.foreign_key_constraints:
        names = [column.name for column in key.columns]
        if key.referred_table is table:
            # The first row has no other row to point to.
            row |= {name: None for name in names if table.columns[name].nullable}
            continue
        parents = connection.execute(
            sa.select(*(element.column for element in key.elements)).order_by(
                *key.referred_table.primary_key.columns
            )
        ).all()
        row |= dict(zip(names, parents[number % len(parents)], strict=True))
    return row


def _value(column: sa.Column[Any], number: int) -> Any:
    kind = column.type
    text = f"{column.name} {number}"
    match kind:
        case sa.Enum():
            return kind.enums[number % len(kind.enums)]
        case sa.Boolean():
            return number % 2 == 0
        case sa.Integer():
            return number + 1
        case sa.Numeric() | sa.Float():
            room = 10 ** ((kind.precision or 9) - (getattr(kind, "scale", None) or 0))
            return Decimal((number + 1) % room)
        case sa.DateTime():
            moment = START + timedelta(days=number)
            return moment if kind.timezone else moment.replace(tzinfo=None)
        case sa.Date():
            return (START + timedelta(days=number)).date()
        case sa.Time():
            return (START + timedelta(minutes=number)).time()
        case sa.Interval() | postgresql.INTERVAL():
            return timedelta(days=number)
        case sa.Uuid():
            return UUID(int=number + 1)
        case sa.JSON():
            return {column.name: number}
        case sa.LargeBinary():
            return text.encode()
        case sa.String():
            return text[-kind.length :] if kind.length else text
        case sa.ARRAY():
            return [_value(sa.Column(column.name, kind.item_type), number)]
        case postgresql.INET() | postgresql.CIDR():
            return f"10.0.{number // 256}.{number % 256}"
        case _ if column.nullable:
            return None
    pytest.fail(
        f"The migration tests don't know values of the type {kind!r}. Put some for the column "
        f'"{column.name}" under "{column.table.name}" into migrations/sample_rows.py.',
        pytrace=False,
    )
