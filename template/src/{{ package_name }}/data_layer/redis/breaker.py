"""A circuit breaker: nobody asks a server that failed several times in a row for a while."""

import time
from collections.abc import Callable


class Breaker:
    """Decides whether to try, by how the last attempts ended.

    It opens after `failures` in a row, and nobody tries for `pause` seconds. Then one attempt goes
    through: its success closes the breaker, its failure keeps it open for another pause.
    """

    def __init__(
        self, failures: int, pause: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._allowed = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether attempts are held back."""
        return self._failures >= self._allowed

    def allows(self) -> bool:
        """Whether to try now. After a yes the caller reports `succeeded` or `failed`."""
        if not self.is_open:
            return True
        if (now := self._clock()) < self._try_at:
            return False
        # The one attempt; should it never report, another may follow after a pause.
        self._try_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """Report that an attempt went well."""
        self._failures = 0

    def failed(self) -> None:
        """Report that an attempt failed."""
        self._failures += 1
        self._try_at = self._clock() + self._pause
