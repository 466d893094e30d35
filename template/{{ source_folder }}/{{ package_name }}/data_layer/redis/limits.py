"""Rate limits: at most a quota in any window of time, counted over all processes."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from ..settings import load
from .connection import script
from .errors import RedisUnavailable
from .keys import digest
from .settings import LimitSettings
from .store import Store

MOST = 10_000
_NAME = re.compile(r"[a-z][a-z0-9.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `quota` in any `window`, for each client.

    Attributes:
        name: the name that clients see; two routes with the same name share their places.
        quota: from 1 to 10,000; Redis keeps a number for each taken place until its window is over.
        window: from 0.1 seconds to a day.
        when_down: overrides `REDIS_LIMITS_WHEN_DOWN`.
    """

    name: str
    quota: int
    window: timedelta
    when_down: Literal["open", "closed"] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a limit; write one like orders.place.")
        if not 1 <= self.quota <= MOST:
            raise ValueError(f"The quota of {self.name} is {self.quota}; use 1 to {MOST:,}.")
        if not timedelta(milliseconds=100) <= self.window <= timedelta(days=1):
            raise ValueError(f"The window of {self.name} is not between 0.1 seconds and a day.")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the client may go on.

    Attributes:
        allowed: the client may.
        counted: Redis counted the attempt; otherwise `when_down` decided.
        remaining: places that are left now.
        free_in: seconds until a place is free; 0 while there is one.
    """

    allowed: bool
    counted: bool
    remaining: int
    free_in: float


class Limiter:
    """Takes places in exact sliding windows.

    In any span of time as long as the window, at most `quota` attempts pass, whatever the clocks of
    clients say. A refused attempt takes no place.
    """

    def __init__(self, store: Store, settings: LimitSettings | None = None) -> None:
        self._store = store
        self._settings = settings or load(LimitSettings)
        self._script = script(store.client, "limit")

    async def take(self, limit: Limit, client: str) -> Decision:
        """Take one place for `client`, if one is free; answers within `REDIS_TIMEOUT`.

        Args:
            limit: the policy.
            client: who is counted, by any text: a user, an address, `*` for everybody together.
        """
        key = str(self._store.key("limit", f"{limit.name}~{digest(client)}"))
        window = limit.window // timedelta(microseconds=1)
        try:
            taken, left, wait = await self._store.run(
                lambda _: self._script(keys=[key], args=[limit.quota, window])
            )
        except RedisUnavailable:
            when_down = limit.when_down or self._settings.when_down
            self._store.counts[f"limits_{when_down}"] += 1
            return Decision(when_down == "open", counted=False, remaining=0, free_in=1.0)
        return Decision(bool(taken), counted=True, remaining=left, free_in=wait / 1_000_000)
