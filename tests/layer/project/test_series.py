"""Names of time series files: what is built can be read, and nothing else."""

from datetime import date, datetime
from fnmatch import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_project.data_layer.series import InvalidSeriesName, SeriesName

WORDS = st.lists(st.text("abyz019", min_size=1, max_size=20), min_size=1, max_size=3).map("-".join)
DAYS = st.dates(min_value=date(1000, 1, 1))


@st.composite
def series_names(draw: st.DrawFn) -> SeriesName:
    start, end = sorted((draw(DAYS), draw(DAYS)))
    suffix = draw(st.sampled_from(["parquet", "feather", "csv", "csv.gz"]))
    return SeriesName(draw(WORDS), draw(WORDS), draw(WORDS), start, end, suffix)


@given(name=series_names())
def test_what_is_built_can_be_read(name: SeriesName) -> None:
    assert SeriesName.parse(str(name)) == name
    assert fnmatch(str(name), name.series.glob(name.suffix))


# Signs that a name is made of, and some that look or count as if they were.
ODD = st.text("az09_-./ AÉ\n\u2028\uff12\u0663", max_size=9)
NEARLY = st.tuples(ODD | WORDS, WORDS, WORDS | ODD, st.just("20230101"), ODD | st.just("20231231"))


@given(text=ODD | NEARLY.map("_".join).map("{}.csv".format))
def test_what_can_be_read_is_built_alike(text: str) -> None:
    try:
        name = SeriesName.parse(text)
    except InvalidSeriesName:
        return
    assert str(name) == text


@pytest.mark.parametrize(
    "example",
    [
        "binance_btcusdt_1h_20230101_20231231.parquet",
        "yahoo_spy_1d_20200101_20231231.parquet",
        "market-desk_trades_tick_20230101_20231231.parquet",
        "meters_kitchen_hourly_20230101_20230131.csv",
        "meters_kitchen_15m_20230101_20230131.csv.gz",
    ],
)
def test_what_the_standard_and_exports_write_are_names(example: str) -> None:
    name = SeriesName.parse(example)
    assert str(name) == example
    assert fnmatch(example, name.series.glob(name.suffix))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("binance_btcusdt_1h_20230101.parquet", "has 4 parts"),
        ("binance_btc_usdt_1h_20230101_20231231.parquet", "has 6 parts"),
        ("Binance_btcusdt_1h_20230101_20231231.parquet", "The source 'Binance'"),
        ("binance_btc/usdt_1h_20230101_20231231.parquet", "The asset 'btc/usdt'"),
        ("binance_btc--usdt_1h_20230101_20231231.parquet", "The asset 'btc--usdt'"),
        ("binance_btcusdt_1M_20230101_20231231.parquet", "The timeframe '1M'"),
        (f"binance_{'x' * 65}_1h_20230101_20231231.parquet", "more than 64 characters"),
        ("binance_btcusdt_1h_09990101_20231231.parquet", "fewer than four digits"),
        ("binance_btcusdt_1h_2023-01-01_20231231.parquet", "'2023-01-01' is no day"),
        ("binance_btcusdt_1h_20230101_20230229.parquet", "'20230229' is no day"),
        ("binance_btcusdt_1h_20231231_20230101.parquet", "is before the start"),
        ("binance_btcusdt_1h_20230101_20231231.xlsx", "The suffix 'xlsx'"),
        ("binance_btcusdt_1h_20230101_20231231", "The suffix ''"),
        ("binance_btcusdt_1h_20230101_20231231.parquet\n", "The suffix"),
        ("binance_btcusdt_1h_\uff12\uff10\uff12\uff130101_20231231.parquet", "is no day"),
        ("", "has 0 parts"),
    ],
)
def test_a_wrong_name_is_told_the_right_one(wrong: str, words: str) -> None:
    with pytest.raises(InvalidSeriesName) as raised:
        SeriesName.parse(wrong)
    assert words in str(raised.value)
    assert str(raised.value).count("binance_btcusdt_1h_20230101_20231231.parquet") >= 1


def test_a_point_in_time_is_no_day() -> None:
    moment = datetime(2023, 1, 1, 12)  # noqa: DTZ001
    with pytest.raises(InvalidSeriesName, match="points in time"):
        SeriesName("binance", "btcusdt", "1h", moment, date(2023, 1, 2))
