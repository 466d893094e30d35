"""Where the exports of this project go, and how they are named."""

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Column, Date, MetaData, Table

from my_project.data_layer import wiring
from my_project.data_layer.duckdb import Export, SeriesFile
from my_project.data_layer.errors import DataLayerError
from my_project.data_layer.project import root
from tests.layer import has

YEAR = SeriesFile("binance", "btcusdt", "1h", date(2023, 1, 1), date(2023, 12, 31))
BARS = Table("bars", MetaData(), Column("day", Date, primary_key=True))
NAME = "binance_btcusdt_1h_20230101_20231231.parquet"


@pytest.mark.standard("DL-DU-01")
def test_files_are_named_by_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUCKDB_LAKE", raising=False)
    lake = wiring.lake()
    assert lake.folder == root() / "data" / ("processed" if has("files") else "lake")
    assert lake.layout.name(YEAR) == NAME
    assert lake.layout.parse(NAME) == YEAR
    yearly = Export("bars", BARS, time="day", period="year", asset="btcusdt", source="binance")
    assert lake.path(yearly, date(2023, 1, 1)).name == NAME.replace("1h", "tick")


@pytest.mark.parametrize("name", ["README.md", f".{NAME}.part", NAME.replace("_1h", ""), "a.csv"])
def test_other_files_are_not_the_lakes(name: str) -> None:
    assert wiring.lake().layout.parse(name) is None


def test_a_wrong_part_is_a_sentence() -> None:
    with pytest.raises(DataLayerError, match="BTC USDT"):
        wiring.lake().layout.name(YEAR._replace(asset="BTC USDT"))


def test_a_folder_that_is_set_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUCKDB_LAKE", str(tmp_path / "elsewhere"))
    assert wiring.lake().folder == tmp_path / "elsewhere"
