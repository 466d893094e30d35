"""The breaker: open after failures in a row, one attempt after a pause, closed by its success."""

from hypothesis import given
from hypothesis import strategies as st

from my_project.data_layer.redis.store import Breaker


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_failures_in_a_row_alone() -> None:
    breaker = Breaker(3, 10, clock=Clock())
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()


def test_after_the_pause_one_tries_alone() -> None:
    clock = Clock()
    breaker = Breaker(1, 10, clock=clock)
    breaker.failed()
    clock.now = 9.9
    assert not breaker.allows()
    clock.now = 10.0
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]
    breaker.failed()
    clock.now = 19.9
    assert not breaker.allows()
    clock.now = 20.0
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.is_open
    assert all(breaker.allows() for _ in range(5))


def test_an_attempt_that_never_reports_does_not_close_it_for_ever() -> None:
    clock = Clock()
    breaker = Breaker(1, 10, clock=clock)
    breaker.failed()
    clock.now = 10.0
    assert breaker.allows()
    clock.now = 20.0
    assert breaker.allows()


@given(st.lists(st.sampled_from(["failed", "succeeded", "later"])), st.integers(1, 5))
def test_it_always_tries_again(events: list[str], failures: int) -> None:
    clock = Clock()
    breaker = Breaker(failures, 10, clock=clock)
    for event in events:
        if event == "later":
            clock.now += 5
        elif breaker.allows():
            getattr(breaker, event)()
    clock.now += 10
    assert breaker.allows()
