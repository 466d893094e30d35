"""The first layer: values within the process, few and for a short time."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

Name = tuple[str, int, str]
"""Entity, version and identifier."""


class Entry(NamedTuple):
    """A value, until when it may be used (by the layer's clock), and the state of its sources."""

    value: Any
    expires: float
    mark: tuple[int, ...]


class Local:
    """A dict of bounded size whose entries expire; the oldest makes room for the newest.

    Since every entry is young, the oldest is hardly worth more than the least recently used, and
    finding it costs nothing.
    """

    def __init__(self, bound: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound = bound
        self._clock = clock
        self._entries: dict[Name, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: Name) -> Entry | None:
        """The entry, unless it has expired."""
        entry = self._entries.get(name)
        if entry is not None and entry.expires <= self._clock():
            del self._entries[name]
            return None
        return entry

    def put(self, name: Name, value: Any, seconds: float, mark: tuple[int, ...]) -> None:
        """Keep a value for some seconds."""
        if self._bound == 0:
            return
        self._entries.pop(name, None)
        if len(self._entries) >= self._bound:
            del self._entries[next(iter(self._entries))]
        self._entries[name] = Entry(value, self._clock() + seconds, mark)

    def drop(self, name: Name) -> None:
        """Forget a value."""
        self._entries.pop(name, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
