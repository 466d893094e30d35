"""The rate limiter of a rendered project against a bare call of its script, side by side.

    copier copy . /tmp/project -d 'modules=[redis]' && cd /tmp/project && uv sync
    uv run --project /tmp/project python benchmarks/limits.py /tmp/project [--url redis://…]

Without --url it starts the embedded Valkey. Both sides run the same script on keys of their own, in
turns; the best round of each counts. The limiter adds the key, the time limit and the breaker.
"""

# It runs in the environment of the rendered project, not in the template's.
# mypy: disable-error-code="import-not-found,misc"
import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

QUOTA = 100
WINDOW = timedelta(minutes=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    [data_layer] = given.project.glob("src/*/data_layer")
    sys.path.insert(0, str(given.project / "src"))
    name = f"{data_layer.parent.name}.data_layer.ephemeral"
    layer = importlib.import_module(name)
    limits = importlib.import_module(f"{name}.limits")
    embedded = importlib.import_module(f"{name}.embedded")
    script = (data_layer / "ephemeral" / "limit.lua").read_text(encoding="utf-8")
    with ExitStack() as stack:
        url = given.url or stack.enter_context(embedded.embedded_server()).url
        asyncio.run(measure(layer, limits, script, url, given.calls, given.rounds))


async def measure(layer: Any, limits: Any, text: str, url: str, calls: int, rounds: int) -> None:
    settings = layer.RedisSettings(_env_file=None, url=url, service="benchmark", timeout=10)
    best = {"script": float("inf"), "limiter": float("inf")}
    async with layer.Store.open(settings) as store:
        script = store.client.register_script(text)
        limiter = limits.Limiter(store, limits.LimitSettings(_env_file=None))
        limit = limits.Limit("benchmark", QUOTA, WINDOW)
        microseconds = WINDOW // timedelta(microseconds=1)

        async def bare(client: str) -> None:
            await script(keys=[f"benchmark:bare:{client}:v1"], args=[QUOTA, microseconds])

        async def ours(client: str) -> None:
            await limiter.take(limit, client)

        sides: dict[str, Callable[[str], Awaitable[None]]] = {"script": bare, "limiter": ours}
        for number in range(rounds):
            for side, call in sides.items():
                begun = time.perf_counter()
                for one in range(calls):
                    await call(f"{number}-{one % 50}")
                best[side] = min(best[side], time.perf_counter() - begun)
    for side, took in best.items():
        print(f"{side:<8} {calls / took:>10,.0f} calls/s")
    print(f"ratio    {best['script'] / best['limiter']:>10.2f}")


if __name__ == "__main__":
    main()
