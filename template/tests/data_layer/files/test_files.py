"""Files as this project is set up: its data tree, what git takes of it, names, whole files."""

import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from tests.data_layer import layer
from tests.data_layer.conftest import Ask

DAYS = [date(2024, 1, 1), date(2024, 1, 2)]
PRICES = pa.table({"code": ["007", None], "day": DAYS, "price": [1.5, 2.5]})


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> layer.files.DataTree:
    """An empty data tree in a repository with the ignore rules of this one."""
    for name in (".gitignore", ".gitattributes", "alembic.ini"):
        (tmp_path / name).write_bytes((pytestconfig.rootpath / name).read_bytes())
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    tree = layer.files.DataTree.of_settings()
    assert tree.root == tmp_path.resolve() / "data"
    tree.create()
    tree.write_readmes()
    return tree


@pytest.mark.standard("DL-FI-01")
def test_the_data_tree_of_this_project_is_there(pytestconfig: pytest.Config) -> None:
    assert layer.files.DataTree(pytestconfig.rootpath / "data").missing() == []


@pytest.mark.standard("DL-FI-02")
@pytest.mark.standard("DL-FI-04")
async def test_git_takes_samples_and_readmes_alone(
    tree: layer.files.DataTree, tmp_path: Path, ask: Ask
) -> None:
    for folder in layer.files.Folder:
        name = layer.files.SeriesName("desk", "acme", "1d", DAYS[0], DAYS[1], "csv")
        layer.files.write(tree.path(f"{folder}/{name}"), PRICES)
    listed = git("ls-files", "--others", "--exclude-standard", "data").split()
    assert {name for name in listed if not name.endswith("README.md")} == {
        "data/samples/desk_acme_1d_20240101_20240102.csv"
    }
    assert sum(name.endswith("README.md") for name in listed) == 6
    await ask("DL-FI-01", "DL-FI-02", "DL-FI-03", "DL-FI-04", "DL-FI-10")


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_a_table_is_read_back_as_it_was(tree: layer.files.DataTree, suffix: str) -> None:
    path = tree.path(f"processed/prices.{suffix}")
    assert layer.files.write(path, PRICES) == 2
    schema = PRICES.schema if suffix == "csv" else None
    assert layer.files.batches(path, schema=schema).read_all() == PRICES


def test_a_file_is_there_whole_or_as_it_was(tree: layer.files.DataTree) -> None:
    path = tree.path("raw/prices.parquet")
    layer.files.write(path, PRICES)

    def broken() -> Iterator[Any]:
        yield from PRICES.slice(1).to_batches()
        raise ConnectionError("the source is gone")

    with pytest.raises(ConnectionError):
        layer.files.write(path, broken(), schema=PRICES.schema)
    assert layer.files.batches(path).read_all() == PRICES
    assert [one for one in path.parent.iterdir() if one.name != "README.md"] == [path]


def test_a_path_outside_of_the_tree_is_refused(tree: layer.files.DataTree) -> None:
    for name in ("../secret.csv", "/etc/passwd", "elsewhere/prices.csv"):
        with pytest.raises(layer.files.FilesError, match="no path of the data tree"):
            tree.path(name)
