"""What `check` asks about Redis: DL-RD."""

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from redis import exceptions
from redis.asyncio import RedisCluster

from ..checklist import Check, Finding, advice, failed, passed, survey
from ..database.checks import KNOWN_PASSWORDS
from ..settings import load
from .address import Address, Topology
from .connection import Client, connect
from .errors import InvalidKey, RedisUnavailable
from .keys import Key, owner
from .settings import RedisSettings

# The oldest release lines that still get fixes and have the commands that the module uses.
OLDEST = {"valkey": (8, 0), "redis": (7, 2)}
# How many keys are sampled; that takes a server some milliseconds, however many keys it holds.
SAMPLE = 2_000
# With fewer reads a hit rate says nothing; at a lower hit rate a cache costs more than it saves.
ENOUGH_READS = 1_000
POOR_RATE = 0.5
# Seconds.
PATIENCE = 10.0
SHORT = 12

Info = dict[str, Any]

_REFUSED = (exceptions.AuthenticationError, exceptions.NoPermissionError)
_NO_KEY = Key("nobody", "nothing", "none")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the settings and the servers say.

    Attributes:
        settings: where the servers are, and what they should hold.
        info: what INFO says, by the name of each master.
        sample: some keys, with their milliseconds to live; -1 for one that never expires.
        cluster: what CLUSTER INFO says; empty without a cluster.
        anonymous: the server serves a client without a password, too.
    """

    settings: RedisSettings
    info: dict[str, Info]
    sample: dict[bytes, int]
    cluster: Info
    anonymous: bool


def redis_checks() -> list[Check]:
    """The checks of the cache, in the order of the report."""
    asked = survey(lambda: ask(load(RedisSettings)))
    return [
        Check("DL-RD-01", "Redis answers, and is a supported version", asked(_version)),
        Check("DL-RD-02", "The cache is bounded and evicts by allkeys-lru", asked(_memory)),
        Check("DL-RD-03", "Redis is private: a password, and TLS or this machine", asked(_access)),
        Check("DL-RD-04", "The cache is worth it", asked(_rates), required=False),
        Check("DL-RD-05", "Every key has the format and expires", asked(_hygiene)),
        Check("DL-RD-06", "What is to be persistent is persisted", asked(_persistence)),
        Check("DL-RD-07", "Replicas and cluster are in order", asked(_replication)),
    ]


def _version(facts: Facts) -> Finding:
    found = []
    for node, info in facts.info.items():
        name = "valkey" if info.get("server_name") == "valkey" else "redis"
        version = str(info[f"{name}_version"])
        found.append(f"{node} is {name} {version}")
        major, minor = OLDEST[name]
        if tuple(int(part) for part in version.split(".")[:2]) < (major, minor):
            return failed(f"{found[-1]}.", f"Upgrade it to {major}.{minor} or newer (REDIS_IMAGE).")
    return passed(f"{'; '.join(found)}.")


def _memory(facts: Facts) -> Finding:
    wanted = size_of(facts.settings.maxmemory)
    for node, info in facts.info.items():
        limit, policy = int(info["maxmemory"]), info["maxmemory_policy"]
        if limit == 0:
            return failed(
                f"{node} has no maxmemory, and grows until the machine has none left.",
                "Set maxmemory to what REDIS_MAXMEMORY says.",
            )
        if policy != "allkeys-lru":
            return failed(
                f"{node} evicts by {policy}.",
                "Set maxmemory-policy to allkeys-lru, and give the queue a server of its own "
                "(REDIS_QUEUE_URL).",
            )
        if limit != wanted:
            return failed(
                f"{node} has a maxmemory of {limit:,} bytes, and REDIS_MAXMEMORY says {wanted:,}.",
                "Let both say the same: restart the server, or correct REDIS_MAXMEMORY.",
            )
    return passed(f"At most {wanted:,} bytes each; allkeys-lru makes room for what is new.")


def _access(facts: Facts) -> Finding:
    address = facts.settings.address()
    password = str(address.options.get("password") or "")
    remedy = "Generate one (`init` does so for an empty REDIS_PASSWORD), and give it to the server."
    if password.lower() in KNOWN_PASSWORDS | {str(address.options.get("username"))}:
        return failed("The password is a known default, or the name of the user.", remedy)
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


def _rates(facts: Facts) -> Finding:
    hits, misses, evicted = (
        sum(int(info[name]) for info in facts.info.values())
        for name in ("keyspace_hits", "keyspace_misses", "evicted_keys")
    )
    reads = hits + misses
    rate = hits / reads if reads else 0.0
    evidence = f"{reads:,} reads since the start, {100 * rate:.0f} % hits; {evicted:,} evictions."
    if reads >= ENOUGH_READS and rate < POOR_RATE:
        return advice(
            evidence, "Cache less, keep it longer, or raise REDIS_MAXMEMORY when it evicts."
        )
    if evicted > hits > 0:
        return advice(evidence, "Raise REDIS_MAXMEMORY: it evicts more than it answers.")
    return passed(evidence)


def _hygiene(facts: Facts) -> Finding:
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


def _persistence(facts: Facts) -> Finding:
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


def _replication(facts: Facts) -> Finding:
    topology = facts.settings.address().topology
    if topology is Topology.CLUSTER:
        state, slots = facts.cluster.get("cluster_state"), facts.cluster.get("cluster_slots_ok")
        if state != "ok":
            return failed(
                f"The cluster is {state}; {slots} of 16384 slots are served.",
                "Bring the missing masters back, or let their replicas take over.",
            )
        return passed(f"The cluster is ok, with {len(facts.info)} masters and all slots served.")
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
    if topology is Topology.SENTINEL and not replicas:
        return failed(f"{node} has no replica that could take over.", "Bring its replicas back.")
    return passed(f"{node} is a master with {len(replicas)} replicas in step.")


def patient(settings: RedisSettings) -> RedisSettings:
    """The same servers, with longer timeouts than a request has.

    Other checks run at the same time, and on a busy machine they delay an answer for seconds.
    """
    limits = ("timeout", "connect_timeout")
    return settings.model_copy(
        update={name: max(getattr(settings, name), PATIENCE) for name in limits}
    )


async def ask(settings: RedisSettings) -> Facts:
    """Ask the servers of the cache.

    Raises:
        RedisUnavailable: one of them does not answer, or refuses.
    """
    address = settings.address()
    patience = patient(settings)
    try:
        async with connect(patience, address) as client:
            anonymous = await _serves_anybody(patience, address)
            if not isinstance(client, RedisCluster):
                info = await client.info()
                port = info["tcp_port"]
                name = f"the server on port {port}" if port else f"the server at {address}"
                return Facts(settings, {name: info}, await _sample(client), {}, anonymous)
            await client.initialize()
            infos, cluster, nodes = dict[str, Info](), Info(), client.get_primaries()
            for node in nodes:
                # CLUSTER INFO of another master reports a master that is down.
                with suppress(exceptions.ConnectionError, exceptions.TimeoutError):
                    infos[f"the server on {node.name}"] = await client.info(target_nodes=node)
                    cluster = await client.cluster_info(target_nodes=node)
            # A scan goes to every master.
            sample = await _sample(client) if len(infos) == len(nodes) else {}
            return Facts(settings, infos, sample, cluster, anonymous)
    except exceptions.NoPermissionError as error:
        raise RedisUnavailable(
            f"The user of REDIS_URL may not do what a check needs ({error}); give it the rights "
            "that ops/redis/start.sh gives."
        ) from error
    except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
        raise RedisUnavailable(
            f"Redis at {address} can't be asked ({error}); start the server, or correct REDIS_URL "
            "and REDIS_PASSWORD."
        ) from error


async def _sample(client: Client) -> dict[bytes, int]:
    names: list[bytes] = []
    async for name in client.scan_iter(count=500):
        names.append(name)
        if len(names) == SAMPLE:
            break
    # Not in one transaction: the keys of a cluster are in many places.
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.pttl(name)
    lifetimes = await pipeline.execute(raise_on_error=False)
    # -2: the key has expired meanwhile. A key that our user may not touch gives an error.
    return {
        name: left if isinstance(left, int) else 0
        for name, left in zip(names, lifetimes, strict=True)
        if left != -2
    }


async def _serves_anybody(settings: RedisSettings, address: Address) -> bool:
    nameless = address.options.keys() - {"username", "password"}
    nobody = replace(address, options={name: address.options[name] for name in nameless})
    if address.topology is Topology.CLUSTER:
        # One node is asked; the cluster's client would hide the reason of a refusal.
        nobody = replace(nobody, topology=Topology.SINGLE, hosts=address.hosts[:1])
    async with connect(settings, nobody) as client:
        try:
            # Not PING, which a user without any right may be allowed.
            await client.get(str(_NO_KEY))
        except _REFUSED:
            return False
        except exceptions.ConnectionError as error:
            # redis-py wraps a refusal over a socket like this.
            if isinstance(error.__cause__, _REFUSED):
                return False
            raise
        except exceptions.ResponseError:
            return True  # such as MOVED: it would have answered
    return True


def size_of(text: str) -> int:
    """How many bytes Redis understands: `k` is 1000, `kb` is 1024."""
    number = text.rstrip("kKmMgGbB")
    unit = text[len(number) :].lower()
    base = 1024 if unit.endswith("b") else 1000
    return int(number) * int(base ** " kmg".index(unit[:1] or " "))


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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
