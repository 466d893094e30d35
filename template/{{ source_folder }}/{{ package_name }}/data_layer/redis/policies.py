"""The kinds of cached data: a kind decides how long a value may stay and what invalidates it."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from .errors import InvalidPolicy
from .keys import Key, TimeToLive

Value = TypeVar("Value")

BRIEFLY = TimeToLive(timedelta(seconds=5))
LONGEST_CONFIGURATION = timedelta(minutes=5)


@dataclass(frozen=True, eq=False)
class Source:
    """Data that computed results are made from, by a name such as `trades`."""

    name: str

    def __post_init__(self) -> None:
        Key("any", "any", self.name)


@dataclass(frozen=True, eq=False)
class _Policy(Generic[Value]):
    """What the three kinds have in common; declare one of them for each entity.

    Attributes:
        entity: the second part of the key.
        type: what is cached: a pydantic model, a dataclass, or whatever pydantic turns into JSON
            and back. Within a process everybody gets the same object, so let it be immutable.
        ttl: how long it stays in Redis.
        version: the version of its schema; raise it with every change of the type.
        local: how long it stays within a process, at most `REDIS_LOCAL_TTL`; None: not at all.
        absent: how long the cache remembers that there is no value; None: not at all.
        loading: how long loading takes at most; other calls wait that long for the one that loads.
        sources: the sources whose changes invalidate the values.
    """

    entity: str
    type: type[Value]
    ttl: TimeToLive
    version: int = field(default=1, kw_only=True)
    local: TimeToLive | None = field(default=BRIEFLY, kw_only=True)
    absent: TimeToLive | None = field(default=None, kw_only=True)
    loading: TimeToLive = field(default=BRIEFLY, kw_only=True)
    # Not a property: every hit within the process reads it.
    sources: tuple[Source, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        Key("any", self.entity, "any", self.version)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Converts values to JSON and back."""
        return TypeAdapter(self.type)


@dataclass(frozen=True, eq=False)
class UserData(_Policy[Value]):
    """Data that people change and want to see changed: call `Cache.invalidate` with every write."""


@dataclass(frozen=True, eq=False)
class Configuration(_Policy[Value]):
    """Data that seldom changes and may be old: it expires after five minutes at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ttl.value > LONGEST_CONFIGURATION:
            raise InvalidPolicy(
                f"The configuration {self.entity} would stay for {self.ttl.value}; nothing "
                f"invalidates it, so keep it for {LONGEST_CONFIGURATION} at most."
            )


@dataclass(frozen=True, eq=False)
class Computed(_Policy[Value]):
    """Data that is computed from the sources `of`: call `Cache.changed` with every write of one."""

    of: tuple[Source, ...] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.of:
            raise InvalidPolicy(
                f"{self.entity} is computed from nothing; name its sources, or let it be a "
                "Configuration."
            )
        object.__setattr__(self, "sources", self.of)


Policy = UserData[Value] | Configuration[Value] | Computed[Value]
