"""Days that the files of a series lack, or hold twice."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_project.data_layer.files import Series, SeriesName, gaps, overlaps
from my_project.data_layer.files.coverage import looks_like_series


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Binance_BTC_USDT_1h_20230101_20231231.parquet", True),
        ("binance_btcusdt_2023-01-01_2023-12-31.parquet", True),
        ("binance_btcusdt_1h_2023.parquet", True),
        ("binance.com_btcusdt_1h_20230101_20231231.parquet", True),
        ("binance_BTC_1h_20230101_20231231.csv.gz", True),
        ("binance_btcusdt_1M_2023_2024.csv", True),
        ("ghcn_daily_by_year_v3.csv", False),
        ("yellow_tripdata_2023-01.parquet", False),
        ("a_b_c_d_e_f_g.csv", False),
        ("instruments.csv", False),
    ],
)
def test_only_what_was_meant_as_a_series_is_named_wrong(text: str, meant: bool) -> None:
    assert looks_like_series(text) is meant


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
