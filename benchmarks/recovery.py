"""The drill under load, and a restore against a raw `pg_basebackup` and a copy, in one run.

    copier copy "$PWD" /tmp/project --defaults -d project_name=Project && cd /tmp/project && uv sync
    uv run --project /tmp/project --no-sync python benchmarks/recovery.py /tmp/project

One embedded server that waits for its disk, with `--rows` rows in two tables, archives into the
exercise's repository while writers insert without a pause. Measured in turns, the median of the
rounds: how long the drill holds the writers, and the longest insert meanwhile beside the longest
without a drill; a full backup beside a bare `pg_basebackup`; a restore beside a bare copy of the
same folder, both until the server takes connections.
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,misc"
import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from pydantic import SecretStr

WRITERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    [data_layer] = given.project.glob("src/*/data_layer")
    sys.path.insert(0, str(given.project / "src"))
    name = f"{data_layer.parent.name}.data_layer"
    os.chdir(given.project)
    recovery, scratch, state, servers = (
        importlib.import_module(f"{name}.{part}")
        for part in ("recovery", "recovery.scratch", "recovery.server", "devservers.postgresql")
    )
    with servers.embedded_server() as server, tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        Bench(recovery, scratch, state, server, Path(folder)).run(given.rows, given.rounds)


class Bench:
    """A server under load, and what is measured of it."""

    def __init__(self, recovery: Any, scratch: Any, state: Any, server: Any, folder: Path) -> None:
        url = server.url.set(drivername="postgresql")
        self.address = url.render_as_string(hide_password=False)
        self.recovery, self.scratch, self.state = recovery, scratch, state
        self.server, self.folder = server, folder
        self.settings = recovery.BackupSettings(
            _env_file=None,
            tool="exercise",
            url=SecretStr(self.address),
            repository=folder / "repository",
            drill_report=folder / "drill.json",
            postgres_bin=server.binaries,
            system_user="nobody",
        )
        self.tool = recovery.tool_of(self.settings)

    def run(self, rows: int, rounds: int) -> None:
        os.environ["DATABASE_URL"] = self.address
        self.tool.prepare()
        self.server.stop()
        self.server.start()
        with psycopg.connect(self.address, autocommit=True) as connection:
            for table in ("trades", "quotes"):
                connection.execute(f"CREATE TABLE {table} (id bigserial PRIMARY KEY, said text)")
                connection.execute(
                    f"INSERT INTO {table} (said) SELECT md5(n::text) || md5((n + 1)::text)"
                    " FROM generate_series(1, %s) n",
                    (rows // 2,),
                )
            [size] = connection.execute("SELECT pg_database_size('postgres')").fetchone() or (0,)
        print(f"{rows:,} rows, {size / 1e6:.0f} MB, {WRITERS} writers")
        found: dict[str, list[float]] = {}
        for number in range(rounds):
            for name, value in self.round(number).items():
                found.setdefault(name, []).append(value)
        for name, values in found.items():
            print(f"{name:60} {median(values):10.3f}   of {min(values):.3f} … {max(values):.3f}")

    def round(self, number: int) -> dict[str, float]:
        values: dict[str, float] = {}
        with self.writing() as longest:
            time.sleep(5)
        values["longest insert without a drill, ms"] = longest[0] * 1000
        values["full backup, s"] = took(lambda: self.tool.run(self.recovery.Kind.FULL))
        raw = self.folder / f"raw{number}"
        values["bare pg_basebackup, s"] = took(lambda: self.basebackup(raw))
        with self.writing() as longest:
            began = time.monotonic()
            report = self.recovery.drill(self.settings, self.tool)
            values["drill under load, s"] = time.monotonic() - began
        assert report.manifest, report.steps
        values["the drill held the writers, ms"] = report.manifest.held * 1000
        values["longest insert during a drill, ms"] = longest[0] * 1000
        values["recovery time that the drill reports, s"] = report.recovery_seconds
        values["restore until it takes connections, s"] = took(lambda: self.restore(number))
        values["bare copy until it takes connections, s"] = took(lambda: self.copy(raw, number))
        return values

    @contextmanager
    def writing(self) -> Iterator[list[float]]:
        """Insert without a pause; the longest insert of all writers, in seconds, stands in it."""
        over, longest = threading.Event(), [0.0]

        def write() -> None:
            with psycopg.connect(self.address, autocommit=True) as connection:
                while not over.is_set():
                    began = time.monotonic()
                    connection.execute("INSERT INTO trades (said) VALUES ('one more')")
                    longest[0] = max(longest[0], time.monotonic() - began)

        threads = [threading.Thread(target=write) for _ in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield longest
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def basebackup(self, folder: Path) -> None:
        program = self.server.binaries / "pg_basebackup"
        command = [program, f"--dbname={self.address}", f"--pgdata={folder}", "--checkpoint=fast"]
        subprocess.run([*command, "--wal-method=fetch", "--no-sync"], check=True)

    def restore(self, number: int) -> None:
        self.start(
            self.folder / f"restored{number}",
            lambda folder: self.tool.restore(
                folder, self.recovery.Target("latest"), self.tool.backups()[-1]
            ),
        )

    def copy(self, raw: Path, number: int) -> None:
        self.start(
            self.folder / f"copied{number}",
            lambda folder: shutil.copytree(raw, folder, dirs_exist_ok=True),
        )

    def start(self, folder: Path, fill: Callable[[Path], object]) -> None:
        folder.mkdir(mode=0o700)
        fill(folder)
        owner = self.server.data.stat()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        with self.state.connected(self.server.url) as connection:
            of = self.state.describe(connection)
        with self.scratch.scratch_server(self.settings, folder, of, {}):
            pass
        shutil.rmtree(folder)


def took(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
