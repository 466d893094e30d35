"""What leaves the layer as JSON is what went in, or it is refused with its place."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from my_project.data_layer.redis import NotJson
from my_project.data_layer.redis.jsonable import dumps, jsonable


class Fill(BaseModel):
    price: Decimal
    weight: float = 1.0
    raw: Any = None


@dataclass
class Order:
    fills: list[Fill]
    placed: date


def test_models_and_dataclasses_are_what_pydantic_writes() -> None:
    order = Order([Fill(price=Decimal("1.50"))], date(2026, 1, 5))
    assert json.loads(dumps(order, "It")) == {
        "fills": [{"price": "1.50", "weight": 1.0, "raw": None}],
        "placed": "2026-01-05",
    }
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert jsonable([moment, UUID(int=1), {1}, (True, None)], "It") == [
        "2026-01-05T12:00:00Z",
        "00000000-0000-0000-0000-000000000001",
        [1],
        [True, None],
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "The message is nan, a number"),
        ({"x": math.nan}, "The message: its x is nan, a number"),
        ({"a": [1, -math.inf]}, "The message: its a.1 is -inf, a number"),
        ([Decimal("NaN")], "The message: its 0 is NaN, a number"),
        (Fill.model_construct(price=Decimal(1), weight=math.inf), "its weight is inf, a number"),
        (object(), "The message is of the type object"),
        ({"deep": Order([Fill(price=Decimal(1), raw=object())], date.min)}, "its deep.fills.0.raw"),
        ({"picture": b"\xff"}, "its picture is of the type bytes"),
        ([lambda: None], "its 0 is of the type function"),
    ],
)
def test_what_json_does_not_have_is_refused_with_its_place(value: object, said: str) -> None:
    with pytest.raises(NotJson) as refused:
        dumps(value, "The message")
    assert said in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


@given(JSON)
def test_what_is_written_comes_back_the_same_or_is_refused(value: Any) -> None:
    try:
        text = dumps(value, "It")
    except NotJson:
        assert not all(map(math.isfinite, numbers(value)))
    else:
        assert json.loads(text) == value


def numbers(value: Any) -> list[float]:
    if isinstance(value, float):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [number for part in inner for number in numbers(part)]
