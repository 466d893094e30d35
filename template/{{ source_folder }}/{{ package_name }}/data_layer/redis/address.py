"""What a URL says about where Redis is: one server, a cluster, or a master behind sentinels."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import parse_url

EXAMPLES = (
    "redis://user@host:6379/0, rediss://… with TLS, unix:///path/to/redis.sock, "
    "redis+cluster://user@host1:6379,host2:6379 or redis+sentinel://user@host1:26379,host2:26379/name"
)
_PORTS = {"cluster": 6379, "sentinel": 26379, "": 6379}
# The options that the query of a URL may hold. The other options of redis-py change the form of its
# answers, or are settings of this layer.
_QUERY = {"db", "username", "password", "client_name", "health_check_interval"} | {
    f"socket_{name}" for name in ("timeout", "connect_timeout", "keepalive", "read_size")
}
_QUERY_OF_TLS = _QUERY | {
    f"ssl_{name}"
    for name in ("ca_certs", "ca_data", "certfile", "keyfile", "cert_reqs", "check_hostname")
}


class Topology(StrEnum):
    """How many servers there are, and who knows which of them to ask."""

    SINGLE = "single"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is.

    Attributes:
        hosts: names and ports of the server, of some nodes of the cluster, or of the sentinels;
            empty for a socket.
        master: the name that the sentinels know the master by; empty without sentinels.
        options: what else redis-py is given: user name, password, database, TLS and whatever the
            query of the URL holds.
    """

    topology: Topology
    hosts: tuple[tuple[str, int], ...]
    tls: bool
    master: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        shown = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{shown}/{self.master}" if self.master else shown or str(self.options.get("path"))


def parse(url: str) -> Address:
    """The address in `url`.

    Raises:
        ValueError: the URL can't be read. The message repeats no part of it, since a misplaced
            character can make a part of the password look like a host.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        raise ValueError("it is not a URL")
    base, _, kind = scheme.lower().partition("+")
    if base == "unix" and not kind:
        options = _options(url, _QUERY - {"socket_keepalive"} | {"path"})
        return Address(Topology.SINGLE, (), tls=False, options=options)
    if base not in {"redis", "rediss"} or kind not in _PORTS:
        raise ValueError("its scheme is not one of redis, rediss, unix, …+cluster and …+sentinel")
    # Parse the hosts one by one: urlsplit accepts brackets only around a single host.
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    parts = urlsplit(f"//h{rest[len(authority) :]}")
    user, at, places = authority.rpartition("@")
    path = unquote(parts.path.strip("/"))
    if not kind and path and not path.isdigit():
        raise ValueError("its path is not the number of a database")
    tls, hosts, options = base == "rediss", [], dict[str, Any]()
    for place in places.split(","):
        one = f"redis://{user}{at}{place}/{'' if kind else path}?{parts.query}"
        options = _options(one, (_QUERY_OF_TLS if tls else _QUERY) | {"host", "port"})
        hosts.append((options.pop("host", ""), options.pop("port", _PORTS[kind])))
        if not hosts[-1][0] or re.search(r":0+$", place):
            raise ValueError("it lacks the name of a host, or a port is 0")
    if not kind and len(hosts) > 1:
        raise ValueError("it names several hosts; begin it with redis+cluster or redis+sentinel")
    if kind == "cluster" and (path not in {"", "0"} or options.get("db")):
        raise ValueError("a cluster has no database but 0; leave it out")
    if kind == "sentinel" and not path:
        raise ValueError("it does not name the master that the sentinels watch, as in …/name")
    master = path if kind == "sentinel" else ""
    return Address(Topology(kind or "single"), tuple(hosts), tls, master, options)


def _options(url: str, known: set[str]) -> dict[str, Any]:
    try:
        options = dict(parse_url(url))
    except ValueError:
        raise ValueError("redis-py can't read one of its hosts, ports or values") from None
    options.pop("connection_class", None)
    if options.keys() - known:
        shown = ", ".join(sorted(known - {"host", "port"}))
        raise ValueError(f"its query names something else than {shown}")
    return options
