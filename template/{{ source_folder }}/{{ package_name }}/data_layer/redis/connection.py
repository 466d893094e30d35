"""The one factory of clients: a server, a cluster, or a master behind sentinels."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    Redis,
    RedisCluster,
    SSLConnection,
)
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as NoConnection

from .. import tracing
from .address import Address, Topology
from .settings import RedisSettings

Client: TypeAlias = Redis | RedisCluster


@asynccontextmanager
async def connect(
    settings: RedisSettings, address: Address | None = None, *, bounded: bool = False
) -> AsyncIterator[Client]:
    """A client that is closed at the end; nothing connects before it is first used.

    It sends a command a second time if its connection is broken, since the server may only have
    been restarted. It never repeats a command after a timeout.

    Args:
        settings: limits of time and connections.
        address: where Redis is, such as `settings.queue_address()`; the cache's without it.
        bounded: the caller itself ends an operation that takes too long, and runs no more than
            `pool_size` at once. redis-py's own bounds on both cost a third of the time of a GET.
    """
    place = address or settings.address()
    options: dict[str, Any] = {
        "socket_connect_timeout": settings.connect_timeout,
        "socket_timeout": None if bounded else settings.timeout,
        "client_name": settings.service,
        "max_connections": settings.pool_size,
        "retry": Retry(NoBackoff(), 1, supported_errors=(NoConnection,)),
        # RESP3 would add a handshake about maintenance to each connection and improve nothing.
        "protocol": 2,
        **place.options,
    }
    async with AsyncExitStack() as stack:
        client: Client
        match place.topology:
            case Topology.SINGLE:
                client = Redis.from_pool(_pool(place, options, None if bounded else settings))
            case Topology.CLUSTER:
                nodes = [ClusterNode(host, port) for host, port in place.hosts]
                client = RedisCluster(startup_nodes=nodes, ssl=place.tls, **options)
            case Topology.SENTINEL:
                sentinels = _sentinels(settings, place, options)
                stack.push_async_callback(sentinels.aclose)
                client = sentinels.master_for(place.master, ssl=place.tls, **options)
        stack.push_async_callback(_close, client)
        if tracing.is_on():
            _trace(client)
        yield client


def _trace(client: Any) -> None:
    """Make a span of each command, by its name alone: keys and values are data."""

    def traced(run: Callable[..., Awaitable[Any]], name: str = "") -> Any:
        async def execute(*arguments: Any, **options: Any) -> Any:
            # A command may be given as one text, with its arguments.
            command = name or str(arguments[0]).partition(" ")[0]
            with tracing.part(command, {"db.system.name": "redis"}, kind="CLIENT"):
                return await run(*arguments, **options)

        return execute

    begin = client.pipeline

    def pipeline(*arguments: Any, **options: Any) -> Any:
        begun = begin(*arguments, **options)
        begun.execute = traced(begun.execute, "PIPELINE")
        return begun

    client.execute_command, client.pipeline = traced(client.execute_command), pipeline


async def _close(client: Client) -> None:
    await client.aclose()
    if isinstance(client, RedisCluster):
        # RedisCluster.aclose leaves these open if the client could not discover the whole cluster.
        await client.nodes_manager.aclose("startup_nodes")


def _pool(place: Address, options: dict[str, Any], waiting: RedisSettings | None) -> ConnectionPool:
    options["connection_class"] = UnixDomainSocketConnection
    if place.hosts:
        options["connection_class"] = SSLConnection if place.tls else Connection
        [(options["host"], options["port"])] = place.hosts
    if waiting is None:
        return ConnectionPool(**options)
    return BlockingConnectionPool(timeout=waiting.timeout, **options)


def _sentinels(settings: RedisSettings, place: Address, options: dict[str, Any]) -> Sentinel:
    password = settings.sentinel_password
    kept = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl_"))}
    return Sentinel(  # type: ignore[no-untyped-call]
        place.hosts,
        sentinel_kwargs={
            **kept,
            "socket_timeout": settings.timeout,
            "ssl": place.tls,
            "password": password.get_secret_value() if password else None,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        },
    )


def script(client: Client, name: str) -> AsyncScript:
    """The script of that name in `lua/`; the client loads it where Redis lacks it."""
    file = Path(__file__).parent / "lua" / f"{name}.lua"
    return client.register_script(file.read_text(encoding="utf-8"))


def is_cancelled() -> bool:
    """Whether the running task was told to end.

    redis-py sometimes swallows the cancellation of a task that waits for an answer. A loop over
    such waits must ask this, or it may never end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
