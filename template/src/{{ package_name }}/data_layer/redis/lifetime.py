"""How long something may stay in Redis: part of the type of every write."""

from dataclasses import dataclass
from datetime import timedelta

from .errors import InvalidTimeToLive

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True, order=True)
class TimeToLive:
    """The time after which a value is gone: `TimeToLive(timedelta(minutes=5))`.

    From one second, below which the way to Redis is most of it, to a year, beyond which a value is
    no longer ephemeral and belongs into PostgreSQL.
    """

    value: timedelta

    def __post_init__(self) -> None:
        if not SHORTEST <= self.value <= LONGEST:
            raise InvalidTimeToLive(
                f"A time to live of {self.value} is not between {SHORTEST.seconds} second and "
                f"{LONGEST.days} days; what must stay longer belongs into PostgreSQL."
            )

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return self.value.total_seconds()

    @property
    def milliseconds(self) -> int:
        """The time in milliseconds, as Redis takes it."""
        return self.value // timedelta(milliseconds=1)
