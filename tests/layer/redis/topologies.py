"""A cluster of three, and a master with replicas behind sentinels, from the embedded server."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from my_project.data_layer.redis import RedisSettings
from tests.data_layer.redis.fixtures import settings_of
from tests.layer import PATIENCE
from tests.layer.redis.servers import OwnServer, own_server

SLOTS = 16_384
MASTER = "desk"


@dataclass(frozen=True)
class Cluster:
    """Three masters without replicas, each with a third of the slots."""

    nodes: tuple[OwnServer, ...]
    password: str
    service: str = "desk"

    @property
    def settings(self) -> RedisSettings:
        """Settings that lead to it by any of its nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return settings_of(
            f"redis+cluster://{hosts}",
            password=self.password,
            breaker_pause=0.3,
            service=self.service,
        )

    def mend(self) -> None:
        """Start what was stopped, and wait until all slots are served."""
        for node in self.nodes:
            node.start()
        _until(lambda: all(map(serves_all, self.nodes)))


@dataclass(frozen=True)
class Watched:
    """A master, two replicas of it, and three sentinels that agree by two."""

    servers: tuple[OwnServer, ...]
    sentinels: tuple[OwnServer, ...]
    password: str
    service: str = "desk"

    @property
    def settings(self) -> RedisSettings:
        """Settings that lead to the master by the sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return settings_of(
            f"redis+sentinel://{hosts}/{MASTER}",
            password=self.password,
            sentinel_password=self.password,
            breaker_pause=0.3,
            service=self.service,
        )

    @property
    def master(self) -> OwnServer:
        """Which of the servers is the master now."""
        with Redis.from_url(self.sentinels[0].url) as sentinel:
            port = int(sentinel.sentinel_master(MASTER)["port"])
        [master] = [server for server in self.servers if server.port == port]
        return master

    def mend(self) -> None:
        """Start what was killed, and wait until a replica could take over."""
        for server in self.servers:
            server.start()
        _until(self._is_guarded)

    def _is_guarded(self) -> bool:
        for sentinel in self.sentinels:
            with Redis.from_url(sentinel.url) as asked:
                state: Any = asked.sentinel_master(MASTER)
            if (
                state["num-other-sentinels"] != 2
                or state["num-slaves"] != 2
                or state["flags"] != "master"
                or int(state["port"]) != self.master.port
            ):
                return False
        with Redis.from_url(self.master.url) as client:
            told: Any = client.info("replication")
        return told["role"] == "master" and any(
            told.get(f"slave{number}", {}).get("state") == "online" for number in range(2)
        )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a cluster, and wait until it serves all slots."""
    with ExitStack() as stack:
        settings = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "5000",
            "cluster-announce-ip": "127.0.0.1",
        }
        first = stack.enter_context(own_server(settings))
        others = [
            stack.enter_context(own_server(settings, password=first.password)) for _ in range(2)
        ]
        nodes = (first, *others)
        clients = [stack.enter_context(Redis.from_url(node.url)) for node in nodes]
        for number, client in enumerate(clients):
            begin, end = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in others:
            bus = node.cluster_port
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        found = Cluster(nodes, first.password)
        found.mend()
        yield found


@contextmanager
def watched() -> Iterator[Watched]:
    """Run a master with two replicas and three sentinels, and wait until they know each other."""
    with ExitStack() as stack:
        password = secrets.token_urlsafe(24)
        # The master too: when it comes back it follows the new one, and must be let in.
        replicated = {"masterauth": password, "repl-diskless-sync-delay": "0"}
        master = stack.enter_context(own_server(replicated, password=password))
        following = {**replicated, "replicaof": f"127.0.0.1 {master.port}"}
        replicas = [stack.enter_context(own_server(following, password=password)) for _ in range(2)]
        watching = {
            "sentinel monitor": f"{MASTER} 127.0.0.1 {master.port} 2",
            "sentinel auth-pass": f"{MASTER} {password}",
            # Not sooner: a master that a busy machine holds up for a moment is well.
            "sentinel down-after-milliseconds": f"{MASTER} 3000",
            # A second failover begins no sooner than twice that after the first.
            "sentinel failover-timeout": f"{MASTER} 1500",
            "sentinel sentinel-pass": password,
        }
        sentinels = tuple(
            stack.enter_context(own_server(watching, sentinel=True, password=password))
            for _ in range(3)
        )
        found = Watched((master, *replicas), sentinels, password)
        found.mend()
        yield found


def serves_all(node: OwnServer) -> bool:
    """Whether this node of a cluster finds all slots served."""
    with Redis.from_url(node.url) as client:
        # Not by RedisCluster's own methods, which want a whole cluster.
        ask: Any = client.execute_command
        return b"cluster_state:ok" in ask("CLUSTER", "INFO") and len(ask("CLUSTER", "SLOTS")) == 3


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except (RedisError, KeyError):
            pass
        time.sleep(0.02)
    raise AssertionError("the servers did not find each other in time")
