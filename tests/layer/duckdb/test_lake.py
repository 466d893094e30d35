"""Where the exports of this project go, how they are named, and whose they are."""

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Column, Date, MetaData, Table, text

from my_project.data_layer import wiring
from my_project.data_layer.duckdb import (
    DuckDBError,
    DuckDBSettings,
    Export,
    Lake,
    analysis,
    declarations,
)
from my_project.data_layer.project import root
from tests.layer import has
from tests.layer.duckdb.conftest import Source

BARS = Table("bars", MetaData(), Column("day", Date, primary_key=True))
NAME = "binance_btcusdt_1h_20230101_20231231.parquet"


def bars(name: str = "bars") -> Export:
    return Export(
        name, BARS, time="day", period="year", source="binance", asset="btcusdt", timeframe="1h"
    )


@pytest.mark.standard("DL-DU-01")
def test_files_are_named_by_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUCKDB_LAKE", raising=False)
    lake = wiring.lake()
    assert lake.folder == root() / "data" / ("processed" if has("files") else "lake")
    assert lake.path(bars(), date(2023, 1, 1)) == lake.folder / NAME


def test_other_files_are_not_the_exports(lake: Lake) -> None:
    declared = bars()
    lake.folder.mkdir()
    others = ("README.md", f".{NAME}.part", NAME.replace("_1h", ""), "a.csv")
    same = (NAME.replace("parquet", "csv"), NAME.replace("1231", "1331"), NAME.replace("_1h", "_d"))
    for name in (*others, *same, NAME):
        (lake.folder / name).touch()
    assert [file.path.name for file in lake.files(declared)] == [NAME]


@pytest.mark.parametrize("part", ["source", "asset", "timeframe"])
def test_a_wrong_part_of_the_name_is_refused_at_once(part: str) -> None:
    with pytest.raises(DuckDBError, match=f"bars can't be named: The {part} 'BTC USDT'"):
        Export("bars", BARS, time="day", **{part: "BTC USDT"})  # type: ignore[arg-type]


def test_two_exports_with_one_name_of_files_are_refused_at_once() -> None:
    bars()
    with pytest.raises(DuckDBError, match="bars and others would both write the files binance_btc"):
        bars("others")


async def test_the_files_of_another_declaration_are_refused_in_the_lake(
    source: Source, lake: Lake
) -> None:
    """As of two programs that share a lake, or of two branches of one."""
    source.run(
        "CREATE TABLE bars AS SELECT date '2024-01-01' + n AS day FROM generate_series(0, 9) AS n"
    )
    first = bars()
    await source.export(lake, first)
    declarations._declared.clear()
    second = bars("others")
    told = "are those of the export bars: give others another source"
    with pytest.raises(DuckDBError, match=told):
        await source.export(lake, second)
    with pytest.raises(DuckDBError, match=told), analysis(lake):
        pass
    # As the sentence says, for an export that has a new name.
    lake.lock(second).unlink()
    assert (await source.export(lake, second)).files == ()
    with pytest.raises(DuckDBError, match="are those of the export others"):
        await source.export(lake, first)


def test_a_folder_that_is_set_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUCKDB_LAKE", str(tmp_path / "elsewhere"))
    assert wiring.lake().folder == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    "inside", ["label=linux", "desk[1]", "desk?", "de*k", "[!a]", "it's", "{desk1,b}"]
)
async def test_a_path_is_a_path(source: Source, tmp_path: Path, inside: str) -> None:
    """And no pattern that finds the files of a neighbour, and no column `label`."""
    source.run("CREATE TABLE ticks (day date, label text)")
    statement = text("SELECT * FROM ticks")
    declared = Export("ticks", statement, time="day")
    for name, label in (("desk1", "theirs"), (inside, "ours")):
        source.run("DELETE FROM ticks", f"INSERT INTO ticks VALUES ('2024-01-01', '{label}')")
        folder = tmp_path / name / "lake"
        lake = Lake(DuckDBSettings(_env_file=None, lake=folder, readable=(), threads=1))
        await source.export(lake, declared)
    # The file is read again for the watermark, for its columns, and for the rows that it keeps.
    source.run("INSERT INTO ticks VALUES ('2024-01-02', 'more')")
    assert (await source.export(lake, declared)).rows == 2
    with analysis(lake) as opened:
        assert opened.query("SELECT label FROM ticks ORDER BY day").fetchall() == [
            ("ours",),
            ("more",),
        ]
