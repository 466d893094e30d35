"""What lives on the servers of Redis."""

from ..modules.remains import Remains
from ..settings import load
from .queue import Queue
from .settings import RedisSettings


async def remains() -> list[Remains]:
    """Jobs must be done before the module is switched off; everything else expires by itself."""
    expiring = Remains(
        "Cached values, sessions, limits and results expire by themselves: remove the servers, and "
        "their lines in .env.",
        lost=False,
    )
    if load(RedisSettings).queue_url is None:
        return [expiring]
    async with Queue.open() as queue:
        state = await queue.state()
    kinds = {"jobs": state.jobs, "delayed jobs": state.delayed, "dead letters": state.dead}
    living = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items() if number)
    if not living:
        return [expiring]
    return [
        Remains(
            f"The queue holds {living}: let workers do them, and look after the dead letters with "
            "`queue dead-letters`.",
            lost=True,
        ),
        expiring,
    ]
