"""`DATABASE_*`: where the database is, how many connections it gets, how long things may take."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..project import PROGRAM
from ..settings import Settings

EXAMPLE = "postgresql://user:password@localhost:5432/name"


class DatabaseSettings(Settings):
    """Connection, pool and timeouts of the one PostgreSQL database.

    Serves the standard's demands DL-PG-02 (pool limits) and DL-PG-03 (timeouts).

    Attributes:
        url: `postgresql://user[:password]@host[:port]/name`; parameters in its query (`sslmode`,
            `application_name`, `options` and all others of libpq) win over the fields below.
        password: used when the URL holds none, so that the URL may stand in tracked files.
        pool_size: connections kept open.
        max_overflow: connections opened beyond `pool_size` under load, and closed afterwards.
        pool_timeout: seconds to wait for a connection before `PoolExhausted`.
        pool_recycle: seconds after which a connection is replaced; 0 never.
        pool_pre_ping: ping a connection that leaves the pool after more than a second, or on which
            the server spoke meanwhile, so that a restarted server costs a reconnect and no error.
        connect_timeout: seconds for one attempt to connect.
        statement_timeout: seconds for one statement, enforced by the server; 0 is no limit.
        lock_timeout: seconds to wait for one lock, enforced by the server; 0 is no limit.
        idle_in_transaction_timeout: seconds that a transaction may be idle before the server ends
            its connection; 0 is no limit.
        transaction_pooler: the URL leads to a pooler that lends a server connection for one
            transaction only (PgBouncer's `pool_mode = transaction`).
        application_name: what `pg_stat_activity` shows.
    """

    model_config = SettingsConfigDict(env_prefix="DATABASE_")

    url: SecretStr
    password: SecretStr | None = None
    pool_size: int = Field(default=5, ge=1, le=1000)
    max_overflow: int = Field(default=10, ge=0, le=1000)
    pool_timeout: float = Field(default=5.0, gt=0, le=600)
    pool_recycle: int = Field(default=1800, ge=0)
    pool_pre_ping: bool = True
    connect_timeout: int = Field(default=5, ge=2, le=300)
    statement_timeout: float = Field(default=30.0, ge=0, le=86_400)
    lock_timeout: float = Field(default=5.0, ge=0, le=86_400)
    idle_in_transaction_timeout: float = Field(default=60.0, ge=0, le=86_400)
    transaction_pooler: bool = False
    application_name: str = Field(default=PROGRAM, min_length=1, max_length=63)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if reason := _fault(url.get_secret_value()):
            raise ValueError(f"{reason}; write one like {EXAMPLE}")
        return url

    def sqlalchemy_url(self) -> URL:
        """The URL with SQLAlchemy's driver name and the password filled in."""
        url = make_url(self.url.get_secret_value()).set(drivername="postgresql+psycopg")
        if not url.password and self.password is not None:
            url = url.set(password=self.password.get_secret_value())
        return url


def address_of(url: URL) -> str:
    """The host, port and database of a URL, for a sentence."""
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"


def _joined(value: str | tuple[str, ...] | None) -> str:
    return value if isinstance(value, str) else ",".join(value or ())


def _fault(text: str) -> str | None:
    # No sentence repeats any part of the value: a misplaced character makes a piece of the
    # password look like a host or a database.
    try:
        url = make_url(text)
    except ArgumentError:
        return "it is not a URL"
    except ValueError:
        return "its port is not a number"
    if url.drivername not in {"postgresql", "postgresql+psycopg"}:
        return "it must begin with postgresql://, since the data layer speaks only PostgreSQL"
    if "@" in (url.host or "") or "@" in (url.database or ""):
        return "it has more than one @; write %40 for an @ within the user name or the password"
    if "password" in url.query:
        return "its password stands in the query, where errors would show it"
    hosts = [url.host or "", *(_joined(url.query.get(name)) for name in ("host", "hostaddr"))]
    if not any(hosts[:2]):
        return "it names no host"
    if any("," in host for host in hosts):
        return "it names several hosts, of which an export could reach another than the application"
    if url.host and "host" in url.query:
        return "it names its host twice, before the database and in the query"
    if url.port is not None and not 0 < url.port < 65_536:
        return "its port is not between 1 and 65535"
    if not url.database:
        return "it names no database"
    return None
