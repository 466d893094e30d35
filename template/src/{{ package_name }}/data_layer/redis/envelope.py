"""How a cached value looks in Redis: one line about it, then JSON."""

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """A value with what decides whether it is still good.

    Attributes:
        expires: milliseconds since 1970 at which Redis drops it, by the clock of its writer.
        cost: milliseconds that loading took.
        generation: the state of the sources that it was computed from; empty without sources.
        payload: JSON; None says that there is no such value.
    """

    expires: int
    cost: int
    generation: bytes
    payload: bytes | None

    def pack(self) -> bytes:
        """What is stored."""
        found = b"1" if self.payload is not None else b"0"
        head = b"%d %d %s %s" % (self.expires, self.cost, found, self.generation)
        return head + b"\n" + (self.payload or b"")

    @classmethod
    def unpack(cls, stored: bytes) -> "Envelope | None":
        """What was stored; None when it is something else."""
        head, newline, payload = stored.partition(b"\n")
        try:
            expires, cost, found, generation = head.split(b" ")
            return cls(
                int(expires), int(cost), generation, payload if found == b"1" and newline else None
            )
        except ValueError:
            return None

    def is_due(self, now: int) -> bool:
        """Whether to load it again before it expires, decided by chance.

        The nearer the end and the longer loading takes, the likelier: of many readers one begins
        in time, and no two processes need to agree (XFetch, Vattani et al., 2015).
        """
        return now - self.cost * math.log(1.0 - random.random()) >= self.expires  # noqa: S311
