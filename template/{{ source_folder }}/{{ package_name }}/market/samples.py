"""The sample data: real daily bars from `data/samples/`, and trades made from them.

`data/README.md` names the source and the licence of each file.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

from sqlalchemy import select

from ..data_layer.database import Upserted, WriteSession, copy_in, upsert
from ..data_layer.project import root
from .models import DailyBar, Instrument, Trade

SOURCE = "Quandl WIKI Prices (public domain), from bokeh-sampledata 2026.1 (BSD-3-Clause)"

_BARS = "quandl_stocks_1d_20110301_20130301.csv"
_INSTRUMENTS = "instruments.csv"

_CENT = Decimal("0.01")
# The regular session of the exchanges in New York, as UTC in winter.
_OPENING = time(14, 30, tzinfo=UTC)
_SESSION = timedelta(hours=6, minutes=30)


class Bar(NamedTuple):
    """One line of the sample file: prices in USD, volume in shares."""

    symbol: str
    day: date
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int


class Tick(NamedTuple):
    """One synthetic trade."""

    symbol: str
    executed_at: datetime
    sequence: int
    price: Decimal
    quantity: int


def bars(folder: Path | None = None) -> Iterator[Bar]:
    """The daily bars of the samples, by symbol and day, one at a time."""
    for line in _lines(_BARS, folder):
        yield Bar(
            line["symbol"],
            date.fromisoformat(line["day"]),
            Decimal(line["open"]),
            Decimal(line["high"]),
            Decimal(line["low"]),
            Decimal(line["close"]),
            int(line["volume"]),
        )


def trades_of(bars: Iterable[Bar], *, per_day: int, seed: int = 1) -> Iterator[Tick]:
    """Synthetic trades that add up to real bars: `per_day` of them for each bar, at least four.

    The first of a day is at the open, the last at the close, and between them the price reaches
    the high and the low and never leaves them. The volume of the bar is shared out to the last
    unit. The same seed gives the same trades.

    Raises:
        ValueError: fewer than four trades a day, or more than the volume of a bar.
    """
    # Repeatable, not secret.
    random = Random(seed)  # noqa: S311
    step = _SESSION / per_day
    for bar in bars:
        if not 4 <= per_day <= bar.volume:
            raise ValueError(
                f"A day of {bar.symbol} has four prices to reach and {bar.volume} units to trade; "
                f"{per_day} trades can't do that."
            )
        opening = datetime.combine(bar.day, _OPENING)
        cuts = [0, *sorted(random.sample(range(1, bar.volume), per_day - 1)), bar.volume]
        prices = _prices(bar, per_day, random)
        for number, ((bought, so_far), price) in enumerate(
            zip(pairwise(cuts), prices, strict=True)
        ):
            executed_at = opening + step * (number + random.random() / 2)
            yield Tick(bar.symbol, executed_at, number, price, so_far - bought)


async def load_instruments(session: WriteSession, folder: Path | None = None) -> Upserted:
    """Load the instruments of the samples; existing ones are updated."""
    rows = [
        (line["symbol"], line["name"], line["currency"], Decimal(line["tick_size"]))
        for line in _lines(_INSTRUMENTS, folder)
    ]
    columns = ["symbol", "name", "currency", "tick_size"]
    return await upsert(session, Instrument, rows, key=["symbol"], columns=columns)


async def load_bars(session: WriteSession, bars: Iterable[Bar]) -> Upserted:
    """Load daily bars; loading them a second time changes nothing."""
    ids = await _instrument_ids(session)
    rows = ((ids[symbol], *prices) for symbol, *prices in bars)
    return await upsert(session, DailyBar, rows, key=["instrument_id", "day"])


async def load_trades(
    session: WriteSession,
    trades: Iterable[Tick],
    progress: Callable[[int], None] | None = None,
) -> int:
    """Load trades by COPY, as from a feed that sends each of them once; returns how many.

    Raises:
        RowRejected: one of them exists already; then none was written.
    """
    ids = await _instrument_ids(session)
    rows = ((ids[symbol], *trade) for symbol, *trade in trades)
    return await copy_in(session, Trade, rows, progress=progress)


def _prices(bar: Bar, count: int, random: Random) -> Iterator[Decimal]:
    """A walk from the open over the high and the low, in either order, to the close."""
    first, second = sorted(random.sample(range(1, count - 1), 2))
    turns = random.sample([bar.high, bar.low], 2)
    corners = [(0, bar.open), (first, turns[0]), (second, turns[1]), (count - 1, bar.close)]
    spread = float(bar.high - bar.low) / 20
    for (start, price), (end, goal) in pairwise(corners):
        yield price
        slope = float(goal - price) / (end - start)
        for number in range(1, end - start):
            wandering = Decimal(float(price) + slope * number + random.gauss(0, spread))
            yield min(max(wandering.quantize(_CENT), bar.low), bar.high)
    yield bar.close


async def _instrument_ids(session: WriteSession) -> dict[str, int]:
    rows = await session.execute(select(Instrument.symbol, Instrument.id))
    return dict(rows.all())


def _lines(name: str, folder: Path | None) -> Iterator[dict[str, str]]:
    path = (folder or root() / "data" / "samples") / name
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
