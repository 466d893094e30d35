"""The rate limiter of a rendered project against a bare call of its script, side by side.

    copier copy "$PWD" /tmp/project -d 'modules=[redis]' && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/redis_limits.py /tmp/project [--url redis://…]

Without --url it starts the embedded Valkey. Both sides run the same script on keys of their own, in
turns, the bare one through a client of redis-py as `Redis.from_url` makes it; the median of the
rounds counts. The limiter adds the key, the time limit and the breaker.
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,misc"
import argparse
import asyncio
import importlib
import sys
from contextlib import ExitStack
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from turns import report, take_turns

QUOTA = 100
WINDOW = timedelta(minutes=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    [data_layer] = given.project.glob("src/*/data_layer")
    sys.path.insert(0, str(given.project / "src"))
    name = f"{data_layer.parent.name}.data_layer.redis"
    layer = importlib.import_module(name)
    limits = importlib.import_module(f"{name}.limits")
    embedded = importlib.import_module(f"{data_layer.parent.name}.data_layer.devservers.redis")
    script = (data_layer / "redis" / "lua" / "limit.lua").read_text(encoding="utf-8")
    with ExitStack() as stack:
        url = given.url or stack.enter_context(embedded.embedded_server())
        asyncio.run(measure(layer, limits, script, url, given.calls, given.rounds))


async def measure(layer: Any, limits: Any, text: str, url: str, calls: int, rounds: int) -> None:
    settings = layer.RedisSettings(_env_file=None, url=url, service="benchmark", timeout=10)
    names = cycle(f"client-{number}" for number in range(50))
    async with layer.Store.open(settings) as store, Redis.from_url(url) as client:
        script = client.register_script(text)
        limiter = limits.Limiter(store, limits.LimitSettings(_env_file=None))
        limit = limits.Limit("benchmark", QUOTA, WINDOW)
        microseconds = WINDOW // timedelta(microseconds=1)

        async def bare() -> None:
            await script(keys=[f"benchmark:bare:{next(names)}:v1"], args=[QUOTA, microseconds])

        async def ours() -> None:
            await limiter.take(limit, next(names))

        sides = {"script": bare, "limiter": ours}
        report("limits", await take_turns(sides, calls=calls, rounds=rounds))


if __name__ == "__main__":
    main()
