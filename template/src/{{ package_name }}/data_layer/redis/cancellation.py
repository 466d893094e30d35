"""Ending what waits for Redis."""

import asyncio


def is_cancelled() -> bool:
    """Whether the running task was told to end.

    redis-py now and then swallows the cancellation of what waits for an answer, so whoever loops
    over such waits must look here, or may never end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
