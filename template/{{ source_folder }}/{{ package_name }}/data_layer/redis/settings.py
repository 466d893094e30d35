"""`REDIS_*`: where Redis is, how long it may take, and what each part of the module keeps."""

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from ..settings import Settings
from . import address
from .address import Address

PROGRAM = __name__.partition(".")[0].replace("_", "-")
"""The name of this project on a command line, and in Redis."""


class RedisSettings(Settings):
    """Connection, time limits and breaker of the cache, and the address of the queue.

    Attributes:
        url: one server, a cluster or a master behind sentinels, as `address.EXAMPLES` shows. The
            options in its query win over the fields below.
        password: used when the URL holds none, so that the URL may stand in tracked files.
        sentinel_password: the password of the sentinels, if they ask for one.
        queue_url: the server of the queue, which evicts nothing; None where there is no queue.
        queue_password: used when `queue_url` holds none.
        maxmemory: what the cache may hold at most, such as `256mb`: compose gives it to the server,
            and `check` compares.
        service: the first part of every key.
        pool_size: operations at once, each on a connection of its own to the server that it needs.
        connect_timeout: seconds for one attempt to connect.
        timeout: seconds that one operation of the cache may take, everything included; a server
            that hangs adds no more than this to a read.
        breaker_failures: how many operations fail in a row before the breaker opens.
        breaker_pause: seconds until one operation tries again.
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
    service: str = Field(default=PROGRAM, min_length=1, max_length=63)
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


class LimitSettings(Settings):
    """`REDIS_LIMITS_*`: what limits do while Redis does not answer.

    Attributes:
        when_down: `open` lets everybody through uncounted, `closed` nobody.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_LIMITS_")

    when_down: Literal["open", "closed"] = "open"


class SessionSettings(Settings):
    """`REDIS_SESSIONS_*`: how long people stay signed in.

    Attributes:
        idle: seconds without a request after which a session ends.
        absolute: seconds after the login at which it ends in any case.
        same_site: `lax` sends the cookie when somebody follows a link to this site, `strict` not
            even then.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_SESSIONS_")

    idle: int = Field(default=1800, ge=1, le=2_592_000)
    absolute: int = Field(default=43_200, ge=1, le=31_536_000)
    same_site: Literal["lax", "strict"] = "lax"


class LiveSettings(Settings):
    """`REDIS_LIVE_*`: what is kept for clients that reconnect, and how far one may fall behind.

    Attributes:
        kept: about how many events of one channel Redis keeps.
        ttl: seconds after its last event that Redis forgets a channel.
        buffer: events that may wait for one client; one that is further behind is disconnected, and
            resumes when it comes back.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_LIVE_")

    kept: int = Field(default=1000, ge=1, le=100_000)
    ttl: int = Field(default=300, ge=1, le=86_400)
    buffer: int = Field(default=100, ge=1, le=100_000)


class QueueSettings(Settings):
    """`REDIS_QUEUE_*`: how long jobs live, how often they are tried, when a worker counts as lost.

    Attributes:
        timeout: seconds for one operation on the server.
        name: the name of this queue; a worker takes the jobs of one queue.
        max_jobs: waiting, delayed and running jobs together; the queue refuses more and drops none.
        max_job_bytes: of one job with its arguments, as JSON; the queue refuses a larger one.
        claim_after: seconds without a sign of life after which a worker's jobs go to another one.
        max_deliveries: how many workers may die in one job before it becomes a dead letter.
        concurrency: jobs that one worker runs at a time.
        shutdown_timeout: seconds that a worker waits for its jobs to end when it is told to stop.
        replicas: how many replicas must have a job before `send` returns; 0 with a single server
            or a cluster. If all of them must, a failover loses no job that was sent.
        result_ttl: seconds that Redis keeps a result.
        once_ttl: seconds for which an idempotency key is remembered: a second job with it is not
            done. At least `result_ttl`, since both jobs have one result.
        max_dead_letters: how many dead letters are kept; the oldest go first.
        retention: seconds after which Redis forgets a queue that nobody uses, dead letters too.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_QUEUE_")

    timeout: float = Field(default=5.0, ge=2, le=600)
    name: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    max_jobs: int = Field(default=100_000, ge=1)
    max_job_bytes: int = Field(default=1_000_000, ge=1000, le=100_000_000)
    claim_after: float = Field(default=30.0, ge=0.2, le=86_400)
    max_deliveries: int = Field(default=3, ge=1, le=100)
    concurrency: int = Field(default=10, ge=1, le=1000)
    shutdown_timeout: float = Field(default=30.0, gt=0, le=86_400)
    replicas: int = Field(default=0, ge=0, le=10)
    result_ttl: int = Field(default=86_400, ge=1)
    once_ttl: int = Field(default=604_800, ge=1, validate_default=True)
    max_dead_letters: int = Field(default=10_000, ge=1)
    retention: int = Field(default=2_592_000, ge=3600)

    @field_validator("once_ttl")
    @classmethod
    def _check_once(cls, once_ttl: int, info: ValidationInfo) -> int:
        if once_ttl < info.data.get("result_ttl", 0):
            raise ValueError(
                "it is less than REDIS_QUEUE_RESULT_TTL, so a job whose idempotency key was "
                "forgotten would find the result of the one before"
            )
        return once_ttl


def _complete(url: SecretStr, password: SecretStr | None) -> Address:
    found = address.parse(url.get_secret_value())
    if password is not None and password.get_secret_value():
        found.options.setdefault("password", password.get_secret_value())
    return found
