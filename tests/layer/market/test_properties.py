"""The example's properties, with as many examples as a person would not wait for."""

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from my_project.data_layer.database import Database
from my_project.market.samples import Bar
from tests.market.conftest import Desk
from tests.market.test_orders import steps, trade
from tests.market.test_samples import keep_to_their_bar, some_bars


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=steps)
async def test_no_sequence_of_steps_makes_or_loses_money(
    database: Database, desk: Desk, steps: Sequence[tuple[Any, ...]]
) -> None:
    await trade(database, steps)


@settings(max_examples=300)
@given(some=some_bars(), per_day=st.integers(4, 30), seed=st.integers(0, 2**32))
def test_any_trades_keep_to_their_bar(some: list[Bar], per_day: int, seed: int) -> None:
    keep_to_their_bar(some, per_day, seed)
