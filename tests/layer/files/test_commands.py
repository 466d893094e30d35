"""The commands `files …`: what they print, change and refuse."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner, Result

from my_project.data_layer import cli
from my_project.data_layer.files import DataTree, Manifest, write
from my_project.data_layer.files import sizes as guidelines
from my_project.data_layer.project import PROGRAM
from tests.layer.files.conftest import git
from tests.layer.files.server import WebServer, web_server

ROWS = pa.table({"close": [1.0, 2.0]})


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        server.files["/x.csv"] = b"a\n1\n2\n"
        yield server


def files(*arguments: str) -> Result:
    return CliRunner().invoke(cli.create_cli(), ["files", *arguments], env={"COLUMNS": "200"})


def test_init_makes_a_tree_that_passes(repository: Path) -> None:
    first = files("init")
    assert first.exit_code == 0
    assert (repository / "data" / "external" / "README.md").is_file()
    assert (repository / "scripts" / "README.md").is_file()
    (repository / "data" / "README.md").write_text("mine\n")
    second = files("init")
    assert second.output == f"{repository / 'data'} is complete.\n"
    assert (repository / "data" / "README.md").read_text() == "mine\n"
    report = files("check")
    assert report.exit_code == 0
    assert "10 passed" in report.output


def test_ls_shows_series_gaps_and_other_files(tree: DataTree) -> None:
    assert "There is no file" in files("ls").output
    for year in (2020, 2021, 2023):
        write(tree.path(f"raw/quandl_ibm_1d_{year}0101_{year}1231.parquet"), ROWS)
    tree.path("samples/notes.txt").write_text("x" * 1500)

    table = files("ls").output
    for words in ("quandl_ibm_1d", "2020-01-01", "2023-12-31", "2022-01-01 to 2022-12-31"):
        assert words in table
    assert "1.5 kB" in table
    assert "notes.txt" not in files("ls", "raw").output


def test_odd_names_are_shown_as_they_are(tree: DataTree) -> None:
    names = ["[bold]☃.csv", "-rf.csv", "a\nb.csv", "[red]x.csv"]
    for name in names:
        tree.path(f"raw/{name}").write_text("a\n1\n")
    (tree.root / "raw" / os.fsdecode(b"caf\xe9.csv")).write_text("a\n1\n")
    shown = files("ls")
    assert shown.exit_code == 0, shown.exception
    for name in ("[bold]☃.csv", "-rf.csv", "[red]x.csv", "caf\\udce9"):
        assert name in shown.output
    done = files("record", "raw/a\nb.csv", "--source", "acme", "--licence", "CC0-1.0")
    assert done.exit_code == 0
    assert set(Manifest(tree).entries()) == {"raw/a\nb.csv"}


def test_what_the_disk_refuses_is_a_sentence(tree: DataTree) -> None:
    about = ("--source", "acme", "--licence", "CC0-1.0")
    tree.path("raw/x.csv").write_text("a\n1\n")
    Manifest(tree).file.mkdir()
    refused = files("record", "raw/x.csv", *about)
    assert refused.exit_code == 2
    assert "manifest.jsonl: Is a directory." in refused.stderr


def test_sizes_name_the_offenders(
    repository: Path, tree: DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the commit hook and CI call, on what the next commit would hold."""
    assert files("sizes").exit_code == 0
    monkeypatch.setattr(guidelines, "LFS_FROM", 1000)
    monkeypatch.setattr(guidelines, "NEVER_FROM", 2000)
    for name, size in (("ok.bin", 500), ("medium ☃.bin", 1500), ("huge.bin", 2500)):
        (repository / name).write_bytes(b"x" * size)
    tree.path("raw/ignored.bin").write_bytes(b"x" * 5000)
    assert files("sizes").exit_code == 0  # nothing of it is staged

    (repository / os.fsdecode(b"caf\xe9.bin")).write_bytes(b"x" * 2600)
    git(repository, "add", "--all")
    result = files("sizes")
    assert result.exit_code == 1, result.exception
    assert "caf\\udce9.bin has 2.6 kB" in result.output
    assert "huge.bin has 2.5 kB; a file above 2.0 kB never goes into git" in result.output
    assert "medium ☃.bin has 1.5 kB; from 1.0 kB on consider Git LFS" in result.output
    assert "ok.bin" not in result.output
    assert "ignored.bin" not in result.output

    git(repository, "rm", "--quiet", "--cached", "huge.bin", os.fsdecode(b"caf\xe9.bin"))
    assert files("sizes").exit_code == 0


def test_a_file_that_was_shrunk_but_not_staged_is_still_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidelines, "NEVER_FROM", 2000)
    (repository / "huge.bin").write_bytes(b"x" * 2500)
    git(repository, "add", "huge.bin")
    (repository / "huge.bin").write_bytes(b"")
    assert "huge.bin has 2.5 kB" in files("sizes").output


def test_download_record_and_forget(tree: DataTree, server: WebServer) -> None:
    about = ("--source", "acme", "--licence", "CC0-1.0")
    for _ in range(2):
        done = files("download", f"{server.url}/x.csv", "raw/x.csv", *about)
        assert done.exit_code == 0, done.output
        assert "raw/x.csv: 6 B, 2 rows, SHA-256 " in done.output
    assert len(server.requests) == 1
    tree.path("external/y.csv").write_text("a\n1\n")
    assert files("record", "external/y.csv", *about).exit_code == 0
    assert set(Manifest(tree).entries()) == {"raw/x.csv", "external/y.csv"}
    assert files("forget", "external/y.csv").exit_code == 0
    assert set(Manifest(tree).entries()) == {"raw/x.csv"}

    refused = files("forget", "external/y.csv")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "Error: The manifest has no external/y.csv.\n"


def test_push_and_pull(tree: DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    tree.path("raw/x.csv").write_text("a\n1\n")
    assert "FILES_REMOTE_URL" in files("push", "raw/x.csv").stderr
    monkeypatch.setenv("FILES_REMOTE_URL", disk.as_uri())
    assert files("push", "raw/x.csv").output == "raw/x.csv: 4 B pushed.\n"
    tree.path("raw/x.csv").unlink()
    assert files("pull", "raw/x.csv").output == "raw/x.csv: 4 B pulled.\n"
    assert tree.path("raw/x.csv").read_text() == "a\n1\n"


def test_prune_deletes_what_is_old_and_keeps_the_rest(
    tree: DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_CACHE_SIZE", "1000")
    cache = tree.root / "cache"
    (cache / "remote").mkdir()
    month = time.time() - 30 * 86_400
    for name, age in (
        ("cache/old.bin", month),
        ("cache/new.bin", time.time()),
        ("cache/remote/1-older.csv", month),
        ("cache/remote/2-newer.csv", time.time()),
        ("raw/kept.csv", month),
        ("raw/.x.csv.0a.part", time.time()),
    ):
        (tree.root / name).write_bytes(b"x" * 800)
        os.utime(tree.root / name, (age, age))
    before = sorted(tree.root.rglob("*"))

    dry = files("prune-cache", "--dry-run")
    assert dry.exit_code == 0
    assert "data/cache/old.bin" in dry.output
    assert sorted(tree.root.rglob("*")) == before

    assert "Deleted 2 files and 1 copies, 2.4 kB in all." in files("prune-cache").output
    left = {
        path.relative_to(tree.root).as_posix() for path in tree.root.rglob("*") if path.is_file()
    }
    assert {one for one in left if ".locks" not in one} == {
        "cache/new.bin",
        "cache/remote/2-newer.csv",
        "raw/kept.csv",
    }
    files("prune-cache", "--all")
    left = {path.name for path in cache.rglob("*") if path.is_file() and ".locks" not in path.parts}
    assert left == set()
    assert tree.path("raw/kept.csv").is_file()


def test_the_hook_calls_what_was_tested(pytestconfig: pytest.Config) -> None:
    hooks = (pytestconfig.rootpath / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    _, _, hook = hooks.partition("- id: large-files")
    entry = hook.partition("entry: ")[2].partition("\n")[0]
    assert entry == f"uv run --no-sync {PROGRAM} files sizes"
