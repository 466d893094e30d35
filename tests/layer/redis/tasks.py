"""Tasks of the tests' own, and the workers that they start."""

import asyncio
import os
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

from my_project.data_layer.redis.queue import Queue, broker, run_worker, task


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


@task("tests.write", attempts=3, backoff=0.1)
async def write(folder: str, name: str, seconds: float = 0.0) -> str:
    """Leave a line for the beginning and one for the end."""
    note(Path(folder, name), f"begun by {os.getpid()}")
    await asyncio.sleep(seconds)
    note(Path(folder, name), "done")
    return name


@task("tests.fail", attempts=3, backoff=0.05)
async def fail(text: str) -> None:
    """Fail always."""
    raise ValueError(text)


@task("tests.die", attempts=3)
async def die(folder: str) -> None:
    """End the worker, as running out of memory does."""
    note(Path(folder, "deaths"), "dead")
    os.kill(os.getpid(), signal.SIGKILL)


async def work(ready: Event) -> None:
    """Do jobs until SIGTERM, by the settings of the environment."""
    broker.BLOCK = 0.1  # nobody waits for a worker that has nothing to do
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Queue.open() as queue:
        ready.set()
        await run_worker(queue, stop)
