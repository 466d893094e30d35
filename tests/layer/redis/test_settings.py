"""Settings: where Redis is, by one URL, and sentences that repeat no part of it."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from my_project.data_layer.redis import RedisSettings
from my_project.data_layer.redis.address import Topology
from my_project.data_layer.redis.checks import size_of
from my_project.data_layer.redis.connection import connect
from my_project.data_layer.redis.queue import QueueSettings
from my_project.data_layer.settings import InvalidSettings, load
from tests.data_layer.redis.fixtures import settings_of

IPV6_FIRST_AND_LAST = (("::1", 6379), ("a", 6379), ("::2", 7))
SECRET = "s3cret-pa55"


@pytest.mark.parametrize(
    ("url", "topology", "hosts", "tls", "master"),
    [
        ("redis://desk@cache:6380/2", Topology.SINGLE, (("cache", 6380),), False, ""),
        ("rediss://cache", Topology.SINGLE, (("cache", 6379),), True, ""),
        ("redis://[::1]:6390", Topology.SINGLE, (("::1", 6390),), False, ""),
        ("redis+cluster://[::1],a,[::2]:7", Topology.CLUSTER, IPV6_FIRST_AND_LAST, False, ""),
        ("unix:///run/redis.sock?db=1", Topology.SINGLE, (), False, ""),
        (
            "redis+cluster://desk@a,b:7000",
            Topology.CLUSTER,
            (("a", 6379), ("b", 7000)),
            False,
            "",
        ),
        (
            "rediss+sentinel://a,b:7000/desk",
            Topology.SENTINEL,
            (("a", 26379), ("b", 7000)),
            True,
            "desk",
        ),
    ],
)
def test_one_url_says_where_it_is(
    url: str, topology: Topology, hosts: tuple[tuple[str, int], ...], tls: bool, master: str
) -> None:
    address = settings_of(url).address()
    assert (address.topology, address.hosts, address.tls, address.master) == (
        topology,
        hosts,
        tls,
        master,
    )


def test_user_password_database_and_query_are_kept() -> None:
    options = settings_of(f"redis://desk:{SECRET}@h:1/3?health_check_interval=7").address().options
    assert options["username"] == "desk"
    assert options["password"] == SECRET
    assert options["db"] == 3
    assert options["health_check_interval"] == 7


def test_the_password_is_filled_in_where_the_url_has_none() -> None:
    given = {"password": SecretStr(SECRET), "queue_password": SecretStr("other")}
    settings = settings_of("redis://desk@h", queue_url=SecretStr("redis://q"), **given)
    assert settings.address().options["password"] == SECRET
    queue = settings.queue_address()
    assert queue is not None
    assert queue.options["password"] == "other"
    own = settings_of("redis://desk:mine@h", **given)
    assert own.address().options["password"] == "mine"
    empty = settings_of("redis://desk@h", password=SecretStr(""))
    assert "password" not in empty.address().options
    assert SECRET not in f"{settings!r} {settings.address()!r} {settings.address()}"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (SECRET, "it is not a URL"),
        (f"http://{SECRET}@h", "scheme"),
        (f"redis+other://{SECRET}@h", "scheme"),
        (f"redis://:{SECRET}@", "lacks the name of a host"),
        (f"redis://:{SECRET}@h:0", "a port is 0"),
        (f"redis+cluster://:{SECRET}@h:7000,", "lacks the name of a host"),
        (f"redis+sentinel://:{SECRET}@h,i:70000/name", "can't read one"),
        (f"redis://:{SECRET}@h:port", "can't read one"),
        (f"redis://h:{SECRET}", "can't read one"),
        (f"redis://[{SECRET}", "can't read one"),
        (f"redis+cluster://a,b[{SECRET}]", "can't read one"),
        (f"redis://h/{SECRET}", "number of a database"),
        (f"redis://:{SECRET}@a,b", "several hosts"),
        (f"redis+cluster://:{SECRET}@a,b/1", "no database but 0"),
        (f"redis+sentinel://:{SECRET}@a,b", "does not name the master"),
        (f"redis+cluster://:{SECRET}@a,b?db=1", "no database but 0"),
        (f"redis://:{SECRET}@h?socket_timeout=x", "can't read one"),
        (f"redis://:{SECRET}@h?{SECRET}=1", "names something else than client_name, db"),
        (f"redis://:{SECRET}@h?max_connections=5", "names something else"),
        (f"redis://:{SECRET}@h?ssl_ca_certs=ca.pem", "names something else"),
        (f"unix:///{SECRET}?socket_keepalive=1", "names something else"),
        ("", "REDIS_URL is not set"),
    ],
)
def test_a_wrong_url_is_one_sentence_without_its_parts(
    monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(InvalidSettings, match=reason) as raised:
        load(RedisSettings)
    assert "REDIS_URL" in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_missing_url_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no .env is
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(InvalidSettings, match="REDIS_URL is not set"):
        load(RedisSettings)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?socket_keepalive=yes&socket_read_size=4096&client_name=me&db=1",
        "rediss://h?ssl_ca_certs=ca.pem&ssl_cert_reqs=none&ssl_check_hostname=no",
        "unix:///run/redis.sock?db=1&socket_timeout=1&health_check_interval=5",
        "rediss+cluster://a,[::1]:7000?ssl_ca_certs=ca.pem&socket_keepalive=yes",
        "rediss+sentinel://a,b/desk?ssl_ca_certs=ca.pem&socket_read_size=4096",
    ],
)
async def test_all_that_a_query_may_say_makes_a_client(url: str) -> None:
    async with connect(settings_of(url)) as client:
        if isinstance(client, Redis):
            client.connection_pool.make_connection()  # type: ignore[no-untyped-call]


def test_an_idempotency_key_outlives_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_QUEUE_RESULT_TTL", "700000")
    with pytest.raises(InvalidSettings, match=r"REDIS_QUEUE_ONCE_TTL .* less than"):
        load(QueueSettings)
    monkeypatch.setenv("REDIS_QUEUE_ONCE_TTL", "700000")
    assert load(QueueSettings).once_ttl == 700_000


@pytest.mark.parametrize(
    ("text", "size"),
    [("100", 100), ("1k", 1000), ("1kb", 1024), ("256MB", 256 * 1024**2), ("2g", 2_000_000_000)],
)
def test_sizes_are_those_of_the_server(text: str, size: int) -> None:
    assert settings_of("redis://h", maxmemory=text).maxmemory == text
    assert size_of(text) == size
