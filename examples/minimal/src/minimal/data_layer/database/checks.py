"""What `check` asks about the database: DL-PG, DL-ORM-01, DL-TX-02 and DL-OPS-01."""

import ast
import asyncio
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError

from .. import dotenv, leaks
from ..checklist import Check, Finding, advice, failed, once, passed
from ..errors import DataLayerError
from ..project import root
from ..settings import load
from .errors import sqlstate
from .session import Database
from .settings import DatabaseSettings

OLDEST_VERSION = 16
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
SHORT = 12
DATA_LAYER = Path(__file__).parents[1]
SYNCHRONOUS = {"create_engine", "engine_from_config", "sessionmaker", "scoped_session"}
# Passwords that images, tutorials and installers set, or that people type to get past a prompt.
_KNOWN = """
    postgres postgresql password passw0rd pass secret admin administrator root user test example
    changeme change-me change_me changethis default dev development docker local localhost letmein
    qwerty 123456 12345678 123456789 mysecretpassword
"""
KNOWN_PASSWORDS = frozenset(_KNOWN.split())

_FACTS = text(
    """
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int AS version_number,
           current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0) AS connections,
           (SELECT nullif(rolconnlimit, -1) FROM pg_roles
             WHERE rolname = current_user AND NOT rolsuper) AS connections_of_role,
           (SELECT nullif(datconnlimit, -1) FROM pg_database
             WHERE datname = current_database()) AS connections_of_database,
           current_setting('statement_timeout') AS statement_timeout,
           current_setting('lock_timeout') AS lock_timeout,
           current_setting('idle_in_transaction_session_timeout')
             AS idle_in_transaction_session_timeout,
           current_setting('transaction_isolation') AS isolation,
           current_setting('default_transaction_isolation') AS default_isolation,
           (SELECT client_dn IS NOT NULL FROM pg_stat_ssl WHERE pid = pg_backend_pid())
             AS by_certificate,
           (SELECT quote_ident(nspname) FROM pg_extension
              JOIN pg_namespace n ON n.oid = extnamespace
             WHERE extname = 'pg_stat_statements') AS statistics_schema
    """
)


def database_checks() -> list[Check]:
    """The checks of the core, in the order of the report.

    The checks that need the server share one connection. When it can't be made, they all fail
    together, and none waits for a timeout of its own.
    """
    server = _Server()
    return [
        Check("DL-PG-01", "PostgreSQL is a supported version", server.version),
        Check("DL-PG-02", "The pool fits the server's connection limits", server.pool),
        Check("DL-PG-03", "The server enforces timeouts", server.timeouts),
        Check("DL-PG-04", "The connection is encrypted or stays on this machine", server.transport),
        Check("DL-PG-05", "The password is neither empty nor a known default", server.password),
        Check("DL-PG-06", "Statement statistics are collected", server.statistics, required=False),
        Check(
            "DL-ORM-01",
            "Database work goes through async sessions",
            _async_only,
            of_repository=True,
        ),
        Check("DL-TX-02", "Transactions are READ COMMITTED by default", server.isolation),
        Check("DL-OPS-01", "Secrets are not in the repository", _secrets, of_repository=True),
    ]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What one connection of the layer's own engine says about itself and its server."""

    version: str
    version_number: int
    connections: int
    connections_of_role: int | None
    connections_of_database: int | None
    statement_timeout: str
    lock_timeout: str
    idle_in_transaction_session_timeout: str
    isolation: str
    default_isolation: str
    by_certificate: bool
    statistics_schema: str | None
    encrypted: bool
    used_password: bool
    used_kerberos: bool


class _Server:
    def __init__(self) -> None:
        self.facts = once(_ask)

    async def version(self) -> Finding:
        facts = await self.facts()
        if facts.version_number < OLDEST_VERSION * 10_000:
            return failed(
                f"The server is PostgreSQL {facts.version}.",
                f"Upgrade it to PostgreSQL {OLDEST_VERSION} or newer.",
            )
        return passed(f"The server is PostgreSQL {facts.version}.")

    async def pool(self) -> Finding:
        settings = load(DatabaseSettings)
        facts = await self.facts()
        wanted = settings.pool_size + settings.max_overflow
        if settings.transaction_pooler:
            return passed(
                f"Each process opens up to {wanted} connections to the pooler, "
                "which limits those to the server."
            )
        limits = (facts.connections, facts.connections_of_role, facts.connections_of_database)
        offered = min(limit for limit in limits if limit is not None)
        evidence = (
            f"Each process opens up to {wanted} of the {offered} connections that the server "
            "offers to this role."
        )
        remedy = (
            "Lower DATABASE_POOL_SIZE or DATABASE_MAX_OVERFLOW, or raise max_connections "
            "(or the CONNECTION LIMIT of the role or database)."
        )
        if wanted > offered:
            return failed(evidence, remedy)
        if wanted * 2 > offered:
            return advice(f"{evidence} A second process, as in a deployment, won't fit.", remedy)
        return passed(evidence)

    async def timeouts(self) -> Finding:
        facts = await self.facts()
        values = {name: getattr(facts, name) for name in TIMEOUTS}
        evidence = f"In force: {', '.join(f'{name} {value}' for name, value in values.items())}."
        off = [name for name, value in values.items() if value == "0"]
        if off:
            variables = ", ".join(
                f"DATABASE_{name.replace('_session', '').upper()}" for name in off
            )
            return failed(
                f"{evidence} 0 is no limit.",
                f"Set {variables} to seconds above 0, and look for `options` in DATABASE_URL.",
            )
        return passed(evidence)

    async def transport(self) -> Finding:
        url = load(DatabaseSettings).sqlalchemy_url()
        host = _host_of(url)
        facts = await self.facts()
        if _is_local(host):
            return passed(f"The server is on this machine ({host or 'a socket'}).")
        if not facts.encrypted:
            return failed(
                f"The connection to {host} is not encrypted.",
                "Switch ssl on in the server, and add ?sslmode=verify-full to DATABASE_URL.",
            )
        mode = url.query.get("sslmode")
        if mode != "verify-full":
            return advice(
                f"The connection to {host} is encrypted, but nothing proves who answers: "
                f"sslmode is {mode or 'not set'}.",
                "Add ?sslmode=verify-full&sslrootcert=system (or your authority's file) to "
                "DATABASE_URL.",
            )
        return passed(f"The connection to {host} is encrypted and the server is verified.")

    async def password(self) -> Finding:
        url = load(DatabaseSettings).sqlalchemy_url()
        remedy = (
            "Generate a password (`init` does so for an empty DATABASE_PASSWORD) and give it to "
            f"the role: ALTER ROLE {url.username or '…'} PASSWORD '…'."
        )
        # Judged before the server is asked: a password is weak whether the server is up or not.
        if url.password and _is_known(url.password, url):
            return failed(
                "The password is a known default or one of the connection's names.", remedy
            )
        facts = await self.facts()
        if not facts.used_password:
            if facts.by_certificate or facts.used_kerberos:
                return passed("The role is authenticated without a password, by its credentials.")
            if not _host_of(url) or _host_of(url).startswith("/"):
                return passed("The operating system vouches for the role, on a socket.")
            return failed(
                f"The server let {url.username} in over TCP without asking for a password.",
                "Say scram-sha-256 instead of trust in pg_hba.conf. " + remedy,
            )
        if url.password and len(url.password) < SHORT:
            return advice(f"The password has fewer than {SHORT} characters.", remedy)
        return passed("The server asks for a password, and it is no known default.")

    async def statistics(self) -> Finding:
        facts = await self.facts()
        remedy = (
            "Add pg_stat_statements to shared_preload_libraries, restart the server, and let a "
            "superuser type: CREATE EXTENSION pg_stat_statements;"
        )
        if facts.statistics_schema is None:
            return advice("pg_stat_statements is not installed in this database.", remedy)
        try:
            async with Database.open() as database, database.read_only() as session:
                # The server itself has quoted this identifier.
                view = f"{facts.statistics_schema}.pg_stat_statements"
                count = await session.scalar(text(f"SELECT count(*) FROM {view}"))  # noqa: S608
        except DBAPIError as error:
            match sqlstate(error):
                case "42501":  # insufficient_privilege
                    return passed("pg_stat_statements is installed, for another role to read.")
                case "55000":  # object_not_in_prerequisite_state
                    return advice("pg_stat_statements is installed but not loaded.", remedy)
            raise
        return passed(f"pg_stat_statements knows {count} statements.")

    async def isolation(self) -> Finding:
        facts = await self.facts()
        if facts.isolation != "read committed":
            return failed(
                f"A transaction of the application is {facts.isolation.upper()}.",
                "Make engines with database.create_engine, and use Database.serializable for the "
                "few functions that need more.",
            )
        if facts.default_isolation != "read committed":
            return advice(
                "Transactions of the application are READ COMMITTED, but other programs get "
                f"{facts.default_isolation.upper()} from the server.",
                "Type ALTER DATABASE … RESET default_transaction_isolation, and look into "
                "postgresql.conf and ALTER ROLE.",
            )
        return passed("Transactions are READ COMMITTED, in the application and by default.")


async def _ask() -> _Facts:
    async with Database.open() as database, database.read_only() as session:
        row = (await session.execute(_FACTS)).mappings().one()
        connection = await session.connection()
        driver = (await connection.get_raw_connection()).driver_connection
        if not isinstance(driver, psycopg.AsyncConnection):
            raise DataLayerError("The engine does not use psycopg; make it with create_engine.")
        return _Facts(
            **row,
            encrypted=driver.pgconn.ssl_in_use,
            used_password=driver.pgconn.used_password,
            used_kerberos=driver.pgconn.used_gssapi,
        )


async def _async_only() -> Finding:
    application = DATA_LAYER.parent
    files = [file for file in application.rglob("*.py") if not file.is_relative_to(DATA_LAYER)]
    found = [
        f"{name} in {file.relative_to(application)}, line {line}"
        for file in sorted(files)
        for name, line in _synchronous_calls(file)
    ]
    if found:
        return failed(
            f"Synchronous sessions or engines: {'; '.join(found)}.",
            "Take sessions from Database.transaction() and Database.read_only().",
        )
    return passed(f"{application.name} makes no synchronous engine or session.")


def _synchronous_calls(file: Path) -> Iterator[tuple[str, int]]:
    """The synchronous names of SQLAlchemy that the file imports or uses, each with its line."""
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        match node:
            case ast.ImportFrom(module=str(module), level=0) if (
                module.partition(".")[0] == "sqlalchemy"
            ):
                for alias in node.names:
                    if alias.name in SYNCHRONOUS:
                        yield alias.name, node.lineno
            case ast.Attribute(attr=name, value=ast.Name(id="sa" | "sqlalchemy" | "orm")) if (
                name in SYNCHRONOUS
            ):
                yield name, node.lineno


async def _secrets() -> Finding:
    project = root()
    if reason := dotenv.why_git_would_take(project):
        return failed(reason, "")
    if files := await asyncio.to_thread(leaks.files_with_secrets, project):
        return failed(
            f"Tracked files hold a secret of .env, a cloud key or a password: {', '.join(files)}.",
            "Replace the secret (it is in the history), and read it from the environment.",
        )
    env = project / ".env"
    if not env.exists():
        return passed("git ignores .env, and there is none.")
    if env.stat().st_mode & 0o077:
        return advice("Others on this machine can read .env.", "Type chmod 600 .env")
    return passed("git ignores .env, its owner alone can read it; no tracked file holds a secret.")


def _host_of(url: URL) -> str:
    """The host that libpq connects to; with a `hostaddr`, `host` is only the certificate's name."""
    return str(url.query.get("hostaddr") or url.host or url.query.get("host", ""))


def _is_local(host: str) -> bool:
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_known(password: str, url: URL) -> bool:
    names = {name.lower() for name in (url.username, url.database, url.host) if name}
    return password.lower() in KNOWN_PASSWORDS | names
