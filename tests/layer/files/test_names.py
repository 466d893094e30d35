"""Names of time series files: what is built can be read, and nothing else."""

from datetime import date, datetime, timedelta
from fnmatch import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_project.data_layer.files import (
    FilesError,
    Series,
    SeriesName,
    gaps,
    overlaps,
)
from my_project.data_layer.files.names import looks_like_series

WORDS = st.lists(st.text("abyz019", min_size=1, max_size=20), min_size=1, max_size=3).map("-".join)
UNITS = st.sampled_from(["ms", "s", "m", "h", "d", "w", "mo", "y"])
TIMEFRAMES = st.just("tick") | st.builds("{}{}".format, st.integers(1, 9999), UNITS)
DAYS = st.dates(min_value=date(1000, 1, 1))


@st.composite
def series_names(draw: st.DrawFn) -> SeriesName:
    start, end = sorted((draw(DAYS), draw(DAYS)))
    suffix = draw(st.sampled_from(["parquet", "feather", "csv"]))
    return SeriesName(draw(WORDS), draw(WORDS), draw(TIMEFRAMES), start, end, suffix)


@pytest.mark.standard("DL-FI-04")
@given(name=series_names())
def test_what_is_built_can_be_read(name: SeriesName) -> None:
    assert SeriesName.parse(str(name)) == name
    assert looks_like_series(str(name))
    assert fnmatch(str(name), name.series.glob(name.suffix))


# Signs that a name is made of, and some that look or count as if they were.
ODD = st.text("az09_-./ AÉ\n\u2028\uff12\u0663", max_size=9)
NEARLY = st.tuples(
    ODD | WORDS, WORDS, TIMEFRAMES | ODD, st.just("20230101"), ODD | st.just("20231231")
)


@given(text=ODD | NEARLY.map("_".join).map("{}.csv".format))
def test_what_can_be_read_is_built_alike(text: str) -> None:
    try:
        name = SeriesName.parse(text)
    except FilesError:
        return
    assert str(name) == text


@pytest.mark.parametrize(
    "example",
    [
        "binance_btcusdt_1h_20230101_20231231.parquet",
        "yahoo_spy_1d_20200101_20231231.parquet",
    ],
)
def test_the_examples_of_the_standard_are_names(example: str) -> None:
    name = SeriesName.parse(example)
    assert str(name) == example
    assert name.series.glob() == f"{'_'.join(name.series)}_*.parquet"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("binance_btcusdt_1h_20230101.parquet", "has 4 parts"),
        ("binance_btc_usdt_1h_20230101_20231231.parquet", "has 6 parts"),
        ("Binance_btcusdt_1h_20230101_20231231.parquet", "The source 'Binance'"),
        ("binance_btc/usdt_1h_20230101_20231231.parquet", "The asset 'btc/usdt'"),
        ("binance_btc--usdt_1h_20230101_20231231.parquet", "The asset 'btc--usdt'"),
        ("binance_btcusdt_1M_20230101_20231231.parquet", "The timeframe '1M'"),
        ("binance_btcusdt_01h_20230101_20231231.parquet", "The timeframe '01h'"),
        ("binance_btcusdt_1h_2023-01-01_20231231.parquet", "'2023-01-01' is no day"),
        ("binance_btcusdt_1h_20230101_20230229.parquet", "'20230229' is no day"),
        ("binance_btcusdt_1h_20231231_20230101.parquet", "is before the start"),
        ("binance_btcusdt_1h_20230101_20231231.xlsx", "The suffix 'xlsx'"),
        ("binance_btcusdt_1h_20230101_20231231", "parts"),
        ("binance_btcusdt_1h_20230101_20231231.parquet\n", "The suffix"),
        ("binance_btcusdt_1h_\uff12\uff10\uff12\uff130101_20231231.parquet", "is no day"),
        ("", "has 0 parts"),
    ],
)
def test_a_wrong_name_is_told_the_right_one(wrong: str, words: str) -> None:
    with pytest.raises(FilesError) as raised:
        SeriesName.parse(wrong)
    assert words in str(raised.value)
    assert str(raised.value).count("binance_btcusdt_1h_20230101_20231231.parquet") >= 1


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Binance_BTC_USDT_1h_20230101_20231231.parquet", True),
        ("binance_btcusdt_2023-01-01_2023-12-31.parquet", True),
        ("binance_btcusdt_1h_2023.parquet", True),
        ("binance_btcusdt_1M_2023_2024.csv", True),
        ("ghcn_daily_by_year_v3.csv", False),
        ("yellow_tripdata_2023-01.parquet", False),
        ("a_b_c_d_e_f_g.csv", False),
        ("instruments.csv", False),
    ],
)
def test_only_what_was_meant_as_a_series_is_named_wrong(text: str, meant: bool) -> None:
    assert looks_like_series(text) is meant


def test_a_point_in_time_is_no_day() -> None:
    moment = datetime(2023, 1, 1, 12)  # noqa: DTZ001
    with pytest.raises(FilesError, match="points in time"):
        SeriesName("binance", "btcusdt", "1h", moment, date(2023, 1, 2))


def file(start: date, days: int, asset: str = "ibm") -> SeriesName:
    return SeriesName("quandl", asset, "1d", start, start + timedelta(days=days))


def test_gaps_and_overlaps_are_named() -> None:
    first = SeriesName.parse("quandl_ibm_1d_20200101_20201231.parquet")
    double = SeriesName.parse("quandl_ibm_1d_20201201_20210131.parquet")
    later = SeriesName.parse("quandl_ibm_1d_20220101_20221231.parquet")
    other = SeriesName.parse("quandl_aapl_1d_20150101_20151231.parquet")
    series = Series("quandl", "ibm", "1d")

    assert sorted([later, first, other, double]) == [other, first, double, later]
    assert list(gaps([later, other, double, first])) == [
        (series, date(2021, 2, 1), date(2021, 12, 31))
    ]
    assert list(overlaps([later, other, double, first])) == [
        (first, double, date(2020, 12, 1), date(2020, 12, 31))
    ]


BEGIN = date(2020, 1, 1)
SOME_FILES = st.lists(
    st.builds(
        lambda start, days, asset: file(BEGIN + timedelta(days=start), days, asset),
        st.integers(0, 60),
        st.integers(0, 20),
        st.sampled_from(["ibm", "aapl"]),
    ),
    max_size=8,
)


@given(files=SOME_FILES)
def test_gaps_are_the_days_in_no_file(files: list[SeriesName]) -> None:
    found = {
        (gap.series, gap.start + timedelta(days=day))
        for gap in gaps(files)
        for day in range((gap.end - gap.start).days + 1)
    }
    missing = set()
    for series in {one.series for one in files}:
        own = [one for one in files if one.series == series]
        first, last = min(one.start for one in own), max(one.end for one in own)
        for day in range((last - first).days + 1):
            today = first + timedelta(days=day)
            if not any(one.touches(today, today) for one in own):
                missing.add((series, today))
    assert found == missing


@given(files=SOME_FILES)
def test_overlaps_are_the_days_in_two_files(files: list[SeriesName]) -> None:
    found = {
        (overlap.first.series, overlap.start + timedelta(days=day))
        for overlap in overlaps(files)
        for day in range((overlap.end - overlap.start).days + 1)
    }
    double = {
        (one.series, one.start + timedelta(days=day))
        for number, one in enumerate(files)
        for other in files[number + 1 :]
        if one.series == other.series
        for day in range((one.end - one.start).days + 1)
        if other.touches(*[one.start + timedelta(days=day)] * 2)
    }
    assert found == double
