"""The one way of live messages, jobs, results and sessions into JSON."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from .errors import RedisLayerError


class NotJson(RedisLayerError, ValueError):
    """A value that JSON does not have; the message says where it is."""


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
        place, wrong = _unknown(value)
        raise NotJson(
            f"{what}{place} is of the type {type(wrong).__name__}, which JSON does not have; give "
            "text, numbers, dates, pydantic models or dataclasses."
        ) from None
    for place, part in (*_parts(value), *_parts(plain)):
        if isinstance(part, float | Decimal) and not math.isfinite(part):
            raise NotJson(
                f"{what}{place} is {part}, a number that JSON does not have; give None or text "
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
    """What stands in the value, at any depth, each with its place."""
    children = _children(value)
    if not children:
        yield place, value
    for name, child in children:
        yield from _parts(child, f"{place}.{name}" if place else f": its {name}")


def _children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(one.name, getattr(value, one.name)) for one in fields(value)]
    return []


def _unknown(value: Any, place: str = "") -> tuple[str, Any]:
    """The innermost part that pydantic can't write, with its place."""
    children = list(value) if isinstance(value, BaseModel) else _children(value)
    for name, child in children:
        try:
            to_jsonable_python(child)
        except ValueError:
            return _unknown(child, f"{place}.{name}" if place else f": its {name}")
    return place, value
