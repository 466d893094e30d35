"""The project's own migrations: up, down and up again, with rows in every table."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from tests.data_layer import layer
from tests.data_layer.conftest import Ask

from .filler import fill, sample_rows

# What two schemas can differ in: columns, constraints, indexes, enum values, sequences.
SCHEMA = """
SELECT 'column', format('%s.%s %s %s %s', attrelid::regclass, attname,
       format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
  AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
UNION ALL
SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = current_schema()
UNION ALL
SELECT 'enum', format('%s %s', enumtypid::regtype, enumlabel) FROM pg_enum
UNION ALL
SELECT 'sequence', sequencename FROM pg_sequences WHERE schemaname = current_schema()
ORDER BY 1, 2
"""


@pytest.fixture
def engine(empty_database_url: sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(empty_database_url, poolclass=sa.NullPool)
    yield engine
    engine.dispose()


@pytest.mark.standard("DL-MIG-01")
@pytest.mark.standard("DL-MIG-03")
@pytest.mark.standard("DL-MIG-04")
@pytest.mark.standard("DL-MIG-05")
@pytest.mark.usefixtures("database_in_environment")
async def test_the_history_is_one_line_of_safe_files_and_ends_where_the_models_are(
    ask: Ask,
) -> None:
    await ask(*(f"DL-MIG-0{number}" for number in (1, 2, 3, 4, 5, 6, 8, 9)))


@pytest.mark.standard("DL-MIG-02")
async def test_every_migration_goes_up_down_and_up_again_with_rows_in_every_table(
    engine: sa.Engine,
) -> None:
    config = layer.migrations.alembic_config()
    scripts = ScriptDirectory.from_config(config)
    samples = sample_rows(Path(scripts.dir))
    before_the_rules = layer.migrations.baseline(config)
    judged = [
        script
        for script in scripts.walk_revisions(before_the_rules or "base")
        if script.revision != before_the_rules
    ]
    await layer.migrations.upgrade(engine.url, before_the_rules or "base")
    for script in reversed(judged):
        before = _schema(engine)
        await layer.migrations.upgrade(engine.url, script.revision)
        with engine.begin() as connection:
            fill(connection, samples)
        after = _schema(engine)
        try:
            await layer.migrations.downgrade(engine.url, "-1")
        except layer.migrations.Irreversible:
            continue
        assert _schema(engine) == before
        with engine.begin() as connection:
            fill(connection, samples)
        await layer.migrations.upgrade(engine.url, script.revision)
        assert _schema(engine) == after
    if not judged:
        return
    with engine.begin() as connection:
        fill(connection, samples)
        tables = set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
        rows = {
            table: connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table)))
            for table in tables
        }
    assert all(rows.values()), rows


def _schema(engine: sa.Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(kind, what) for kind, what in connection.execute(sa.text(SCHEMA))]
