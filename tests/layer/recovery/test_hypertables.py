"""TimescaleDB, of the edition that Debian packages: its tables come back, and its workers don't."""

from pathlib import Path

import pytest

from my_project.data_layer.recovery import Kind, drill
from my_project.data_layer.recovery.server import connected
from tests.layer.recovery.conftest import shop

pytestmark = pytest.mark.pgbackrest

HYPERTABLE = (
    "CREATE EXTENSION timescaledb",
    "CREATE TABLE readings (at timestamptz NOT NULL, sensor int NOT NULL, value numeric)",
    "SELECT create_hypertable('readings', by_range('at', interval '1 day'))",
    "INSERT INTO readings SELECT timestamptz '2026-11-01' + n * interval '10 minutes', n % 7, n"
    " FROM generate_series(1, 2000) n",
)


def test_hypertables_come_back_and_no_copy_has_workers(open_folder: Path, debian: Path) -> None:
    with shop(open_folder, debian=debian, timescaledb=True) as opened:
        opened.execute(*HYPERTABLE)
        opened.tool.run(Kind.FULL)
        opened.execute("INSERT INTO readings VALUES ('2026-12-24', 1, 24)")
        opened.tool.run(Kind.INCREMENTAL)
        report = drill(opened.settings, opened.tool)
        assert report.ok, [step.said for step in report.steps if not step.ok]
        assert report.manifest is not None
        assert report.manifest.tables["public.readings"].rows == 2001

        point = opened.point("evening")
        chunks = opened.execute("SELECT count(*) FROM show_chunks('readings')")
        opened.execute("DROP TABLE readings")
        opened.archived()
        with opened.copy(point) as url, connected(url) as connection:
            found = connection.execute(
                "SELECT count(*), (SELECT count(*) FROM show_chunks('readings')) FROM readings"
            ).fetchone()
            assert found == (2001, chunks)
            workers = "SELECT backend_type FROM pg_stat_activity WHERE backend_type ~ 'TimescaleDB'"
            assert opened.execute(workers)
            assert connection.execute(workers).fetchall() == []
