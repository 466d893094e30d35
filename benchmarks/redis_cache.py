"""The cache of a rendered project against a dict with expiry and a bare GET, side by side.

    copier copy "$PWD" /tmp/project -d 'modules=[redis]' && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/redis_cache.py /tmp/project [--url redis://…]

Without --url it starts the embedded Valkey. Both sides read the same value, in turns; the median
of the rounds counts. Wanted: a hit in Redis at least 0.8 of GET and json.loads by a client of
redis-py as `Redis.from_url` makes it.
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,misc"
import argparse
import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from turns import report, take_turns

VALUE = {"symbol": "ACME", "price": "10.50", "executed_at": "2026-01-05T12:00:00Z"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    [data_layer] = given.project.glob("src/*/data_layer")
    sys.path.insert(0, str(given.project / "src"))
    name = f"{data_layer.parent.name}.data_layer.redis"
    layer = importlib.import_module(name)
    embedded = importlib.import_module(f"{data_layer.parent.name}.data_layer.devservers.redis")
    with ExitStack() as stack:
        url = given.url or stack.enter_context(embedded.embedded_server())
        asyncio.run(measure(layer, url, given.rounds))


async def measure(layer: Any, url: str, rounds: int) -> None:
    hour = layer.TimeToLive(timedelta(hours=1))
    near = layer.UserData("near", dict[str, str], hour, local=hour)
    far = layer.UserData("far", dict[str, str], hour, local=None)
    settings = layer.RedisSettings(
        _env_file=None, url=url, service="benchmark", local_ttl=300, timeout=10
    )
    kept = {"one": (VALUE, time.monotonic() + 3600)}

    async def load() -> dict[str, str]:
        return VALUE

    async def from_dict() -> Any:
        value, expires = kept["one"]
        return value if expires > time.monotonic() else None

    async with (
        layer.Store.open(settings) as store,
        layer.Cache.open(store) as cache,
        Redis.from_url(url) as client,
    ):
        await cache.hearing()
        await client.set("benchmark", json.dumps(VALUE), ex=3600)

        async def bare() -> Any:
            return json.loads(await client.get("benchmark"))

        def in_process() -> Awaitable[Any]:
            found: Awaitable[Any] = cache.get(near, "one", load)
            return found

        def in_redis() -> Awaitable[Any]:
            found: Awaitable[Any] = cache.get(far, "one", load)
            return found

        sides = {"dict": from_dict, "cache": in_process}
        report("in process", await take_turns(sides, calls=5_000, rounds=rounds))
        sides = {"GET": bare, "cache": in_redis}
        report("in Redis", await take_turns(sides, calls=300, rounds=rounds))
        await client.delete("benchmark")


if __name__ == "__main__":
    main()
