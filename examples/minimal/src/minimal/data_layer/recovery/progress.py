"""A sign of life on stderr from any work that takes longer than two seconds."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST, EVERY = 2.0, 10.0


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say `what` is going on after two seconds, and again every ten."""
    begun = time.monotonic()
    over = threading.Event()

    def say() -> None:
        wait = FIRST
        while not over.wait(wait):
            sys.stderr.write(f"{what} … {time.monotonic() - begun:.0f} s\n")
            sys.stderr.flush()
            wait = EVERY

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()
