"""What `check` asks about Redis: DL-RD."""

import asyncio
import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

from ..checklist import Check, Finding, advice, failed, passed
from ..database.checks import KNOWN_PASSWORDS
from ..settings import load
from .address import Address, Topology
from .connection import Client, connect
from .errors import InvalidKey, RedisUnavailable
from .keys import Key, owner
from .settings import RedisSettings

# The oldest lines that still get fixes, and know what the module uses.
OLDEST = {"valkey": (8, 0), "redis": (7, 2)}
# A sample that takes a server some milliseconds, whatever it holds.
SAMPLE = 2_000
# Below that many reads a rate says nothing; below that rate a cache costs more than it saves.
ENOUGH_READS = 1_000
POOR_RATE = 0.5
SHORT = 12

Info = dict[str, Any]

_CREDENTIALS = {"username", "password"}
_REFUSED = (AuthenticationError, NoPermissionError)
_NO_KEY = Key("nobody", "nothing", "none")
# As Redis counts them: k is 1000, kb is 1024.
_UNITS: dict[str, int] = {
    "": 1,
    **{letter: 1000**power for power, letter in enumerate("kmg", start=1)},
    **{f"{letter}b": 1024**power for power, letter in enumerate("kmg", start=1)},
}


def redis_checks() -> list[Check]:
    """The checks of the cache, in the order of the report."""
    survey = Survey()
    return [
        Check("DL-RD-01", "Redis answers, and is a supported version", survey.version),
        Check("DL-RD-02", "The cache is bounded and evicts by allkeys-lru", survey.memory),
        Check("DL-RD-03", "Redis is private: a password, and TLS or this machine", survey.access),
        Check("DL-RD-04", "The cache is worth it", survey.rates, required=False),
        Check("DL-RD-05", "Every key has the format and expires", survey.hygiene),
        Check("DL-RD-06", "What is to be persistent is persisted", survey.persistence),
        Check("DL-RD-07", "Replicas and cluster are in order", survey.replication),
    ]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the servers say.

    Attributes:
        info: what INFO says, by the name of each master.
        sample: some keys, with their milliseconds to live; -1 for one that never expires.
        cluster: what CLUSTER INFO says; empty without a cluster.
        anonymous: a client without a password is served too.
    """

    info: dict[str, Info]
    sample: dict[bytes, int]
    cluster: Info
    anonymous: bool


class Survey:
    """Asks once for all checks of one report."""

    def __init__(self) -> None:
        self._asked: asyncio.Task[Facts] | None = None

    async def facts(self) -> Facts:
        """The facts, asked for by the first check that wants them."""
        if self._asked is None:
            self._asked = asyncio.create_task(ask(load(RedisSettings)))
        # A check that runs out of time must not take the answer from the others.
        return await asyncio.shield(self._asked)

    async def version(self) -> Finding:
        facts = await self.facts()
        found = []
        for node, info in facts.info.items():
            name, version = product(info)
            found.append(f"{node} is {name} {version}")
            oldest = OLDEST[name]
            if tuple(int(part) for part in version.split(".")[:2]) < oldest:
                return failed(
                    f"{found[-1]}.",
                    f"Upgrade it to {oldest[0]}.{oldest[1]} or newer (REDIS_IMAGE).",
                )
        return passed(f"{'; '.join(found)}.")

    async def memory(self) -> Finding:
        wanted = _bytes(load(RedisSettings).maxmemory)
        facts = await self.facts()
        for node, info in facts.info.items():
            limit, policy = int(info["maxmemory"]), str(info["maxmemory_policy"])
            if limit == 0:
                return failed(
                    f"{node} has no maxmemory, and grows until the machine has none left.",
                    "Set maxmemory to what REDIS_MAXMEMORY says.",
                )
            if policy != "allkeys-lru":
                return failed(
                    f"{node} evicts by {policy}.",
                    "Set maxmemory-policy to allkeys-lru, and give the queue an instance of its "
                    "own (REDIS_QUEUE_URL).",
                )
            if limit != wanted:
                return failed(
                    f"{node} has a maxmemory of {limit:,} bytes, and REDIS_MAXMEMORY says "
                    f"{wanted:,}.",
                    "Let both say the same: restart the server, or correct REDIS_MAXMEMORY.",
                )
        return passed(f"At most {wanted:,} bytes each; allkeys-lru makes room for what is new.")

    async def access(self) -> Finding:
        address = load(RedisSettings).address()
        password = str(address.options.get("password") or "")
        remedy = (
            "Generate one (`init` does so for an empty REDIS_PASSWORD), and give it to the server."
        )
        if password.lower() in KNOWN_PASSWORDS | {str(address.options.get("username"))}:
            return failed("The password is a known default, or the name of the user.", remedy)
        facts = await self.facts()
        if facts.anonymous:
            return failed("Redis serves clients that give no password.", remedy)
        elsewhere = [host for host, _ in address.hosts if not _is_loopback(host)]
        if elsewhere and not address.tls:
            return failed(
                f"The connection to {', '.join(elsewhere)} is not encrypted.",
                "Switch TLS on in the server, and begin REDIS_URL with rediss.",
            )
        if len(password) < SHORT:
            return advice(f"The password has fewer than {SHORT} characters.", remedy)
        return passed("Redis asks for a password, and nobody on the way can read along.")

    async def rates(self) -> Finding:
        facts = await self.facts()
        hits = sum(int(info["keyspace_hits"]) for info in facts.info.values())
        misses = sum(int(info["keyspace_misses"]) for info in facts.info.values())
        evicted = sum(int(info["evicted_keys"]) for info in facts.info.values())
        reads = hits + misses
        rate = hits / reads if reads else 0.0
        evidence = (
            f"{reads:,} reads since the start, {100 * rate:.0f} % hits; {evicted:,} evictions."
        )
        if reads >= ENOUGH_READS and rate < POOR_RATE:
            return advice(
                evidence, "Cache less, keep it longer, or raise REDIS_MAXMEMORY when it evicts."
            )
        if evicted > hits > 0:
            return advice(evidence, "Raise REDIS_MAXMEMORY: it evicts more than it answers.")
        return passed(evidence)

    async def hygiene(self) -> Finding:
        facts = await self.facts()
        lasting = sorted(name for name, left in facts.sample.items() if left == -1)
        if lasting:
            return failed(
                f"{len(lasting)} of {len(facts.sample)} keys never expire, such as "
                f"{_shown(lasting[0])}.",
                "Write them with a TimeToLive, through this layer, and delete these.",
            )
        odd = sorted(name for name in facts.sample if not _well_formed(name))
        if odd:
            return failed(
                f"{len(odd)} of {len(facts.sample)} keys are not of the form "
                f"service:entity:identifier:version, such as {_shown(odd[0])}.",
                "Make keys with Store.key alone; another program gets a Redis of its own.",
            )
        return passed(f"All of a sample of {len(facts.sample)} keys have the format and expire.")

    async def persistence(self) -> Finding:
        facts = await self.facts()
        told = []
        for node, info in facts.info.items():
            for name in ("rdb_last_bgsave_status", "aof_last_write_status"):
                if info.get(name, "ok") != "ok":
                    return failed(
                        f"{node} can't write its data to disk ({name} is {info[name]}).",
                        "See its log, and whether its disk is full.",
                    )
            if int(info.get("loading", 0)):
                return failed(f"{node} is still loading its data.", "Wait, then ask again.")
            kept = "appendonly" if int(info["aof_enabled"]) else "nothing survives a restart"
            told.append(f"{node}: {kept}")
        return passed(f"{'; '.join(told)}. Nothing in it is the only copy.")

    async def replication(self) -> Finding:
        address = load(RedisSettings).address()
        facts = await self.facts()
        if address.topology is Topology.CLUSTER:
            state, slots = facts.cluster.get("cluster_state"), facts.cluster.get("cluster_slots_ok")
            if state != "ok":
                return failed(
                    f"The cluster is {state}; {slots} of 16384 slots are served.",
                    "Bring the missing masters back, or let their replicas take over.",
                )
            return passed(
                f"The cluster is ok, with {len(facts.info)} masters and all slots served."
            )
        [(node, info)] = facts.info.items()
        if info["role"] != "master":
            return failed(
                f"{node} is a replica, and refuses every write.",
                "Name the master, or the sentinels that know it, in REDIS_URL.",
            )
        replicas = [value for name, value in info.items() if _is_replica(name, value)]
        behind = [one for one in replicas if one.get("state") != "online"]
        if behind:
            return failed(
                f"{len(behind)} of {len(replicas)} replicas of {node} are not in step.",
                "See their logs; a full copy may be under way.",
            )
        if address.topology is Topology.SENTINEL and not replicas:
            return failed(
                f"{node} has no replica that could take over.", "Bring its replicas back."
            )
        return passed(f"{node} is a master with {len(replicas)} replicas in step.")


async def ask(settings: RedisSettings) -> Facts:
    """Ask the servers of the cache.

    Raises:
        RedisUnavailable: one of them does not answer, or refuses.
    """
    address = settings.address()
    # Without the breaker and its short limit: a check may take longer than a read.
    patient = settings.model_copy(update={"timeout": max(settings.timeout, 5.0)})
    try:
        async with connect(patient, address) as client:
            anonymous = await _serves_anybody(patient, address)
            if isinstance(client, RedisCluster):
                return await _ask_cluster(client, anonymous)
            info = await client.info()
            port = info["tcp_port"]
            name = f"the server on port {port}" if port else f"the server at {address}"
            return Facts({name: info}, await _sample(client), {}, anonymous)
    except NoPermissionError as error:
        raise RedisUnavailable(
            f"The user of REDIS_URL may not do what a check needs ({error}); give it the rights "
            "that ops/redis/start.sh gives."
        ) from error
    except (RedisError, RedisClusterException, OSError) as error:
        raise RedisUnavailable(
            f"Redis at {address} can't be asked ({error}); start the server, or correct REDIS_URL "
            "and REDIS_PASSWORD."
        ) from error


def product(info: Info) -> tuple[str, str]:
    """Which server it is, `valkey` or `redis`, and its version."""
    if info.get("server_name") == "valkey":
        return "valkey", str(info["valkey_version"])
    return "redis", str(info["redis_version"])


async def _ask_cluster(client: RedisCluster, anonymous: bool) -> Facts:
    await client.initialize()
    info: dict[str, Info] = {}
    cluster: Info = {}
    nodes = client.get_primaries()
    for node in nodes:
        # One that is down is what a check is to tell of.
        with suppress(NoConnection, NoAnswer):
            info[f"the server on {node.name}"] = await client.info(target_nodes=node)
            cluster = await client.cluster_info(target_nodes=node)
    # A scan goes to every master.
    sample = await _sample(client) if len(info) == len(nodes) else {}
    return Facts(info, sample, cluster, anonymous)


async def _sample(client: Client) -> dict[bytes, int]:
    names: list[bytes] = []
    async for name in client.scan_iter(count=500):
        names.append(name)
        if len(names) == SAMPLE:
            break
    # Not in one transaction: the keys of a cluster are in many places.
    pipeline = (
        client.pipeline()
        if isinstance(client, RedisCluster)
        else client.pipeline(transaction=False)
    )
    for name in names:
        pipeline.pttl(name)
    lifetimes = await pipeline.execute(raise_on_error=False)
    # -2 has expired meanwhile; a key of others, which we may not touch, gives an error.
    return {
        name: left if isinstance(left, int) else 0
        for name, left in zip(names, lifetimes, strict=True)
        if left != -2
    }


async def _serves_anybody(settings: RedisSettings, address: Address) -> bool:
    options = {name: value for name, value in address.options.items() if name not in _CREDENTIALS}
    # Of a cluster one node is asked; its client would hide the reason of a refusal.
    single = address.topology is not Topology.SENTINEL
    nobody = Address(
        Topology.SINGLE if single else address.topology,
        address.hosts[:1] if single else address.hosts,
        address.tls,
        address.master,
        options,
    )
    async with connect(settings, nobody) as client:
        try:
            # Not PING, which a user without any right may be allowed.
            await client.get(str(_NO_KEY))
        except _REFUSED:
            return False
        except NoConnection as error:
            # So redis-py wraps what is refused over a socket.
            if isinstance(error.__cause__, _REFUSED):
                return False
            raise
        except ResponseError:
            return True  # such as MOVED: it would have answered
    return True


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")[:120]


def _well_formed(name: bytes) -> bool:
    try:
        owner(name)
    except InvalidKey:
        return False
    return True


def _is_replica(name: str, value: Any) -> bool:
    return name.startswith("slave") and name[5:].isdigit() and isinstance(value, dict)


def _bytes(size: str) -> int:
    number = int("".join(sign for sign in size if sign.isdigit()))
    return number * _UNITS[size.lstrip("0123456789").lower()]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
