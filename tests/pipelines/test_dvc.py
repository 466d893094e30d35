"""The offered pipeline of the module files runs under a real DVC, which no project depends on."""

import csv
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import projects
from tests.engines.conftest import install
from tests.projects import clean_environment, commit_all, git, run, uv


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rendered = tmp_path_factory.mktemp("pipeline") / "project"
    return install(projects.render(template, rendered, modules=["files"]))


@pytest.fixture
def source(project: Path, tmp_path: Path) -> Iterator[str]:
    """The bars of the samples, as their source publishes them, and their hashes in the scripts."""
    (sample,) = (project / "data" / "samples").glob("quandl_*.csv")
    with sample.open(encoding="utf-8", newline="") as file:
        for bar in csv.DictReader(file):
            target = tmp_path / f"{bar['symbol']}.csv"
            with target.open("a", encoding="utf-8") as raw:
                if raw.tell() == 0:
                    raw.write("Date,Open,High,Low,Close,Volume,Adj Close\n")
                values = [bar[name] for name in ("day", "open", "high", "low", "close", "volume")]
                raw.write(",".join([*values, bar["close"]]) + "\n")
    configuration = project / "scripts" / "stocks.json"
    stocks = json.loads(configuration.read_text(encoding="utf-8"))
    stocks["sha256"] = {
        file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.glob("*.csv")
    }
    configuration.write_text(json.dumps(stocks), encoding="utf-8")
    commit_all(project, "Take the bars from this machine")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def dvc(project: Path, *arguments: str, url: str = "") -> str:
    # The stages call uv by its name, as a person has it.
    path = f"{Path(uv()).parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(DVC_NO_ANALYTICS="1", STOCKS_URL=url, PATH=path)
    command = (uv(), "tool", "run", "--quiet", "--from", "dvc>=3.67", "dvc", *arguments)
    done = run(*command, cwd=project, env=environment)
    return done.stdout + done.stderr


def test_the_pipeline_runs_once_and_again_only_where_it_must(project: Path, source: str) -> None:
    dvc(project, "init", "--quiet")
    first = dvc(project, "repro", url=source)
    assert [f"Running stage '{name}'" in first for name in ("download", "process", "export")] == [
        True
    ] * 3
    made = sorted(path.name for path in (project / "data" / "processed" / "quandl").iterdir())
    assert len(made) == 5
    assert (project / "data" / "processed" / "stocks-by-year.csv").is_file()

    # Nobody serves there: what did not change is not run again.
    assert "Data and pipelines are up to date." in dvc(project, "repro", url="http://127.0.0.1:1")

    script = project / "scripts" / "export_stocks.py"
    script.write_text(script.read_text(encoding="utf-8") + "# Changed.\n", encoding="utf-8")
    third = dvc(project, "repro", url="http://127.0.0.1:1")
    assert "Stage 'process' didn't change" in third
    assert "Running stage 'export'" in third

    commit_all(project, "Record the pipeline")
    tracked = git("ls-files", "data", "dvc.lock", cwd=project).split()
    assert "dvc.lock" in tracked
    assert not [
        path
        for path in tracked
        if path.startswith("data/") and "samples" not in path and "README" not in path
    ]
    # What git forgets, DVC brings back.
    (project / "data" / "processed" / "stocks-by-year.csv").unlink()
    dvc(project, "checkout")
    assert (project / "data" / "processed" / "stocks-by-year.csv").is_file()
