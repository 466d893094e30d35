"""`REDIS_*`: where Redis is, how long it may take, and when it isn't asked at all."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from ..settings import Settings
from . import address
from .address import Address


class RedisSettings(Settings):
    """Connection, time limits and breaker of the cache, and the address of the queue.

    Attributes:
        url: one server (`redis://`, `rediss://`, `unix://`), a cluster (`redis+cluster://h1,h2`)
            or a master that sentinels know (`redis+sentinel://h1,h2/name`). What its query names
            wins over the fields below.
        password: used when the URL holds none, so that the URL may stand in tracked files.
        sentinel_password: of the sentinels, where they ask for one.
        queue_url: the instance of the queue, which evicts nothing; None where there is no queue.
        queue_password: used when `queue_url` holds none.
        maxmemory: what the cache may hold at most, such as `256mb`: compose gives it to the server,
            and `check` compares.
        service: the first part of every key.
        pool_size: operations at once, each on a connection of its own to the server that it needs.
        connect_timeout: seconds for one attempt to connect.
        timeout: seconds that one operation of the cache may take, everything included; the bound
            on what a server that hangs adds to a read.
        breaker_failures: how many operations must fail in a row before Redis is left alone.
        breaker_pause: seconds that it is left alone before one operation tries again.
        local_entries: values that the cache keeps within the process; 0 keeps none.
        local_ttl: seconds that it keeps one of them at most, whatever the policy says.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_")

    url: SecretStr
    password: SecretStr | None = None
    sentinel_password: SecretStr | None = None
    queue_url: SecretStr | None = None
    queue_password: SecretStr | None = None
    maxmemory: str = Field(default="256mb", pattern=r"^[1-9][0-9]*(?i:[kmg]b?)?$")
    service: str = Field(
        default=__name__.partition(".")[0].replace("_", "-"), min_length=1, max_length=63
    )
    pool_size: int = Field(default=20, ge=1, le=10_000)
    connect_timeout: float = Field(default=1.0, gt=0, le=60)
    timeout: float = Field(default=0.5, gt=0, le=60)
    breaker_failures: int = Field(default=5, ge=1, le=1000)
    breaker_pause: float = Field(default=2.0, gt=0, le=600)
    local_entries: int = Field(default=10_000, ge=0, le=10_000_000)
    local_ttl: float = Field(default=10.0, gt=0, le=300)

    @field_validator("url", "queue_url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            try:
                address.parse(url.get_secret_value())
            except ValueError as error:
                raise ValueError(f"{error}; write one like {address.EXAMPLES}") from None
        return url

    def address(self) -> Address:
        """Where the cache is, with the password filled in."""
        return _complete(self.url, self.password)

    def queue_address(self) -> Address | None:
        """Where the queue is, with the password filled in."""
        return _complete(self.queue_url, self.queue_password) if self.queue_url else None


def _complete(url: SecretStr, password: SecretStr | None) -> Address:
    found = address.parse(url.get_secret_value())
    if password is not None and password.get_secret_value():
        found.options.setdefault("password", password.get_secret_value())
    return found
