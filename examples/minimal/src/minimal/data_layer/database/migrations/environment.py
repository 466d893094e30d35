"""What `migrations/env.py` runs: the async environment, the deployers' lock and the timeouts."""

import asyncio
import logging
import time
import warnings
import zlib
from logging.config import fileConfig
from typing import Any

import stamina
from alembic import command, context
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr, ValidationError
from sqlalchemy import URL, Connection, MetaData, text
from sqlalchemy.exc import DBAPIError

from ... import logs
from ...errors import DataLayerError
from ...settings import load
from ..engine import create_engine
from ..errors import lock_was_taken, reason_of
from ..settings import DatabaseSettings, address_of
from . import dialect  # noqa: F401 (Alembic finds it by its name)
from .errors import MigrationError
from .naming import description
from .settings import MigrationSettings

# A logger below `alembic`, since `alembic.ini` shows the messages of that one.
log = logging.getLogger(f"alembic.{__name__}")

LOCK_KEY = zlib.crc32(b"alembic_version")

_POLL = 0.25


def run_migrations(*target_metadata: MetaData) -> None:
    """Run what the `alembic` command line asked for; only `migrations/env.py` calls it.

    - Every migration is a transaction of its own: a migration that fails leaves nothing behind,
      and the migrations before it stay.
    - Whoever changes the database holds an advisory lock, so that a second deployer waits, then
      finds nothing left to do.
    - `lock_timeout` and `statement_timeout` come from `MIGRATION_*`, not from `DATABASE_*`.
      A migration that meets the lock timeout is rolled back and tried again.
    - `--sql` writes a script and needs neither a database nor a setting.
    - `--autogenerate` compares the default schema and the schemas that a model names. It creates
      no schema: let the migration do that first.

    Args:
        target_metadata: the models that `--autogenerate` compares the database with. A project with
            a base of its own names its metadata first, and the layer's `Base.metadata` after it.

    Raises:
        MigrationError: in a sentence, when the settings are wrong or another deployer takes longer
            than `MIGRATION_WAIT`.
    """
    script_only = context.is_offline_mode() or _needs_no_database()
    if context.config.cmd_opts is not None and context.config.config_file_name is not None:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    target = _together(*target_metadata)
    schemas = {table.schema for table in target.tables.values()}
    options: dict[str, Any] = {
        "target_metadata": target,
        # Every schema that is neither the default one nor one of the models is somebody else's.
        "include_schemas": any(schemas),
        "include_name": lambda name, kind, _: kind != "schema" or not name or name in schemas,
        "transaction_per_migration": True,
        "compare_server_default": True,
        "process_revision_directives": _name_the_file,
        # The plugins of the modules, too: `prepare_migrations` of the wiring has imported them.
        "autogenerate_plugins": ["*"],
    }
    try:
        logs.configure(text=False)
        settings = load(MigrationSettings)
        if script_only:
            _write_script(options, settings)
        else:
            asyncio.run(_connect(options, settings))
    except MigrationError:
        raise
    except DataLayerError as error:
        raise MigrationError(str(error)) from error


def _together(first: MetaData, *others: MetaData) -> MetaData:
    # Given a list, Alembic would ignore the naming convention and `info`.
    for other in others:
        for table in other.sorted_tables:
            if table.key not in first.tables:
                table.to_metadata(first)
        for name, told in other.info.items():
            here = first.info.setdefault(name, told)
            if isinstance(told, dict) and isinstance(here, dict):
                first.info[name] = told | here
    return first


def _needs_no_database() -> bool:
    context.configure(dialect_name="postgresql", as_sql=False)
    revision = context.get_context().opts.get("revision_context")
    if revision is not None:
        return not revision.command_args["autogenerate"]
    # Because of `revision_environment`, Alembic runs env.py for these two commands as well.
    if _typed() not in (command.history, command.merge):
        return False
    arguments = context.config.cmd_opts
    indicates_current = getattr(arguments, "indicate_current", False)
    return not indicates_current and "current" not in (getattr(arguments, "rev_range", "") or "")


def _typed() -> Any:
    """The function of `alembic.command` that a person typed; None when code called it."""
    arguments = context.config.cmd_opts
    return None if arguments is None else arguments.cmd[0]


def _write_script(options: dict[str, Any], settings: MigrationSettings) -> None:
    context.configure(
        dialect_name="postgresql",
        as_sql=True,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        **options,
    )
    if context.get_context().opts.get("destination_rev") is not None:
        for name, seconds in _timeouts(settings):
            context.execute(f"SET {name} = '{seconds * 1000:.0f}ms'")
    context.run_migrations()


async def _connect(options: dict[str, Any], settings: MigrationSettings) -> None:
    database = _database(settings)
    engine = create_engine(database, application_name="migrations")
    try:
        try:
            connection = await engine.connect()
        except DBAPIError as error:
            raise MigrationError(
                f"The database {address_of(engine.url)} can't be reached ({reason_of(error)}); "
                "start the server, or correct the URL."
            ) from error
        try:
            await connection.run_sync(_migrate, options, settings)
        finally:
            await connection.close()
    finally:
        # Closing the connection also frees the advisory lock.
        await engine.dispose()


def _database(settings: MigrationSettings) -> DatabaseSettings:
    url: URL | str | None = context.config.attributes.get("url")
    if isinstance(url, URL):
        url = url.render_as_string(hide_password=False)
    if url is None and settings.url is not None:
        url = settings.url.get_secret_value()
    if url is not None:
        try:
            return DatabaseSettings(url=SecretStr(url), transaction_pooler=False)
        except ValidationError as error:
            reason = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
            raise MigrationError(f"MIGRATION_URL is wrong: {reason}.") from None
    database = load(DatabaseSettings)
    if database.transaction_pooler:
        raise MigrationError(
            "Migrations hold a lock for as long as they are connected, which a pooler in "
            "transaction mode can't do; set MIGRATION_URL to an address of the server itself."
        )
    return database


def _migrate(connection: Connection, options: dict[str, Any], settings: MigrationSettings) -> None:
    for name, seconds in _timeouts(settings):
        connection.execute(
            text("SELECT set_config(:name, :value, false)"),
            {"name": name, "value": f"{seconds * 1000:.0f}ms"},
        )
    connection.commit()
    context.configure(connection=connection, as_sql=False, **options)
    if "destination_rev" in context.get_context().opts:
        _become_the_only_deployer(connection, settings.wait)
    try:
        for attempt in stamina.retry_context(
            on=lock_was_taken,
            attempts=settings.lock_attempts,
            timeout=None,
            wait_initial=1,
            wait_max=15,
        ):
            with attempt, warnings.catch_warnings():
                # SQLAlchemy 2.1 says this whenever it reflects a check that is NOT VALID.
                warnings.filterwarnings("ignore", "Can't validate argument 'dialect_options'")
                context.run_migrations()
        connection.commit()
    except DBAPIError as error:
        error.add_note(
            "The migration that failed is rolled back, except what it did in autocommit blocks; "
            "those before it are applied. Correct it and run `alembic upgrade head` again."
        )
        raise


def _timeouts(settings: MigrationSettings) -> list[tuple[str, float]]:
    return [
        ("lock_timeout", settings.lock_timeout),
        ("statement_timeout", settings.statement_timeout),
    ]


def _become_the_only_deployer(connection: Connection, wait: float) -> None:
    # Ask again and again instead of waiting inside `pg_advisory_lock`, since a waiting statement
    # holds a snapshot. The deployer who holds the lock may run CREATE INDEX CONCURRENTLY, which
    # would wait for that snapshot: the two deployers would wait for each other.
    deadline = time.monotonic() + wait
    told = False
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}):
        holder = connection.execute(
            text(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND classid = 0 AND objid = :key AND objsubid = 1"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            {"key": LOCK_KEY},
        ).scalar()
        connection.commit()
        if time.monotonic() >= deadline:
            raise MigrationError(
                f"Another deployer (server process {holder}) has been migrating this database for "
                f"more than {wait:g} seconds; wait until it is done and try again, or set "
                "MIGRATION_WAIT to more seconds."
            )
        if not told:
            log.info("Waiting for another deployer (server process %s).", holder)
            told = True
        time.sleep(_POLL)
    connection.commit()


def _name_the_file(
    migration: MigrationContext, _revision: Any, directives: list[MigrationScript]
) -> None:
    autogenerate: bool = migration.opts["revision_context"].command_args["autogenerate"]
    for directive in list(directives):
        if directive.message is None and _typed() is not command.revision:
            continue  # `alembic check` compares and writes nothing
        if autogenerate and directive.upgrade_ops is not None and directive.upgrade_ops.is_empty():
            directives.remove(directive)
            log.info("The models and the database are in step; there is nothing to migrate.")
            continue
        title = " ".join((directive.message or "").split())
        directive.message = description(directive.message)
        # The file's name is ASCII; its docstring keeps the words as they were typed.
        escaped = title.replace("\\", r"\\").replace('"""', r"\"\"\"")
        migration.opts["template_args"]["title"] = escaped
