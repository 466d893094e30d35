"""How live messages, jobs, results and sessions become JSON."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from .errors import NotJson


def jsonable(value: Any, what: str) -> Any:
    """The value as dicts with text as keys, lists, text, finite numbers, booleans and None.

    Pydantic models, dataclasses, dates, decimals, UUIDs and the like become what pydantic writes.

    Args:
        value: anything.
        what: the beginning of the sentence that refuses it, such as `The message for prices`.

    Raises:
        NotJson: it, or a part of it, is of another type, or is NaN or infinite.
    """
    try:
        plain = to_jsonable_python(value, inf_nan_mode="constants")
    except ValueError:
        place, wrong = next((place, part) for place, part in _parts(value) if not _known(part))
        raise NotJson(
            f"{what}{place} is of the type {type(wrong).__name__}, which JSON does not have; give "
            "text, numbers, dates, pydantic models or dataclasses."
        ) from None
    # pydantic writes a Decimal as text, even one that is NaN.
    numbers = [one for one in _parts(value) if isinstance(one[1], Decimal)]
    numbers += [one for one in _parts(plain) if isinstance(one[1], float)]
    for place, number in numbers:
        if not math.isfinite(number):
            raise NotJson(
                f"{what}{place} is {number}, a number that JSON does not have; give None or text "
                "instead."
            )
    return plain


def dumps(value: Any, what: str) -> str:
    """The value as JSON text without spaces.

    Raises:
        NotJson: as `jsonable` does.
    """
    return json.dumps(jsonable(value, what), separators=(",", ":"), allow_nan=False)


def _parts(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The parts of the value, the innermost first, each with its place."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        children = list(enumerate(value))
    elif isinstance(value, BaseModel):
        children = list(value)
    elif is_dataclass(value) and not isinstance(value, type):
        children = [(one.name, getattr(value, one.name)) for one in fields(value)]
    for name, child in children:
        yield from _parts(child, f"{place}.{name}" if place else f": its {name}")
    yield place, value


def _known(value: Any) -> bool:
    try:
        to_jsonable_python(value)
    except ValueError:
        return False
    return True
