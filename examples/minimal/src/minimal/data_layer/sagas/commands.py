"""The command groups `sagas` and `outbox`."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy import delete, func, select

from ..database import Database, DatabaseSettings, WriteSession
from ..project import COMMAND
from ..serving import run, serving
from ..settings import load
from . import operating
from .errors import SagaError, UnknownSaga
from .models import OutboxRow, SagaRow, Status
from .outbox import run_relay
from .worker import run_worker

Work = Callable[[Database, asyncio.Event], Coroutine[Any, Any, None]]
Model = type[SagaRow] | type[OutboxRow]

Id = Annotated[UUID, typer.Argument(metavar="ID", help="As `sagas ls` shows it.")]
Limit = Annotated[int, typer.Option(min=1, help="How many.")]

_EXAMPLES = f"""
**Examples**

`{COMMAND} sagas worker` — bring sagas on; start as many as you need

`{COMMAND} sagas ls --status parked` — those that wait for a person

`{COMMAND} sagas resolve ID --note "cancelled by phone"` — a person did what the saga could not
"""


def saga_commands(declare: Callable[[], None]) -> typer.Typer:
    """The group `sagas`; `declare` imports the modules that declare some."""
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", epilog=_EXAMPLES)

    @commands.command()
    def worker() -> None:
        """Bring sagas on until Ctrl-C or SIGTERM, then end the steps that run."""
        declare()
        _serve(run_worker, SagaRow)

    @commands.command("ls")
    def list_(
        status: Annotated[Status | None, typer.Option(help="Only these.")] = None,
        limit: Limit = 20,
    ) -> None:
        """Count the sagas, and show those that changed last."""
        declare()

        async def work(session: WriteSession) -> None:
            for one in await operating.states(session):
                unknown = "" if one.is_known else "   not in this code"
                kind = f"{one.name} (version {one.version})"
                typer.echo(f"{one.number:>9,}  {one.status:<11}  {kind}{unknown}")
            for row in await operating.find(session, status, limit):
                typer.echo(f"{row.id}  {row.updated_at:%Y-%m-%d %H:%M:%S}Z  {_line(row)}")

        _run(work, SagaRow)

    @commands.command()
    def show(saga_id: Id) -> None:
        """Show a saga: its arguments, its steps, and what went wrong."""

        async def work(session: WriteSession) -> None:
            row = await operating.saga(session, saga_id)
            typer.echo(f"{row.id}  {_line(row)}, version {row.version}")
            typer.echo(f"    arguments: {json.dumps(row.arguments)}")
            for step in sorted(row.steps, key=lambda one: one.updated_at):
                result = "" if step.result is None else json.dumps(step.result)
                line = f"{step.updated_at:%H:%M:%S}Z  {step.state:<8} {step.name}  {result}"
                typer.echo(f"    {line.rstrip()}")
            for what, said in (("reason", row.reason), ("note", row.note)):
                if said:
                    typer.echo(f"    {what}: {said}")

        _run(work, SagaRow)

    @commands.command()
    def retry(
        ids: Annotated[list[UUID] | None, typer.Argument(metavar="ID…")] = None,
        every: Annotated[bool, typer.Option("--all", help="All that are parked.")] = False,
    ) -> None:
        """Let parked sagas go on where they stopped, with all attempts."""
        if bool(ids) == every:
            raise SagaError("Name the ids that `sagas ls` shows, or give --all; one of both.")

        async def work(session: WriteSession) -> None:
            chosen = ids or [row.id for row in await operating.find(session, "parked", 10_000)]
            for one in chosen:
                await operating.retry(session, one)
            typer.echo(f"{len(chosen):,} go on.")

        _run(work, SagaRow)

    @commands.command()
    def resolve(
        saga_id: Id,
        note: Annotated[str, typer.Option(help="What was done, for whoever looks later.")],
        result: Annotated[str, typer.Option(help="What the step returned, as JSON.")] = "null",
        undo: Annotated[bool, typer.Option("--undo", help="Compensate it instead.")] = False,
    ) -> None:
        """Say that a person did the step at which a saga is parked; the saga then goes on.

        If the saga goes forward, the step counts as done; if it compensates, as undone.
        """
        declare()
        try:
            returned = json.loads(result)
        except ValueError:
            raise SagaError("The result is no JSON; quote a text, as in '\"AB-1\"'.") from None

        async def work(session: WriteSession) -> None:
            if undo:
                await operating.give_up(session, saga_id, note)
                typer.echo("It goes back.")
            else:
                step = await operating.resolve(session, saga_id, note, returned)
                typer.echo(f"{step} is settled; the saga goes on.")

        _run(work, SagaRow)

    @commands.command()
    def prune(
        days: Annotated[float, typer.Option(min=0, help="How old they are at least.")] = 30,
    ) -> None:
        """Delete sagas that have ended, with their arguments and results.

        Their keys can start sagas again.
        """

        async def work(session: WriteSession) -> None:
            old = SagaRow.updated_at < func.statement_timestamp() - timedelta(days=days)
            ended = SagaRow.status.in_(["completed", "compensated"])
            gone = await session.scalars(delete(SagaRow).where(ended, old).returning(SagaRow.id))
            typer.echo(f"{len(gone.all()):,} deleted.")

        _run(work, SagaRow)

    return commands


def outbox_commands(declare: Callable[[], None]) -> typer.Typer:
    """The group `outbox`; `declare` imports the modules that declare topics."""
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

    @commands.command()
    def relay() -> None:
        """Deliver what is committed until Ctrl-C or SIGTERM."""
        declare()
        _serve(run_relay, OutboxRow)

    @commands.command("ls")
    def list_(limit: Limit = 20) -> None:
        """Count the messages that wait, and show the oldest, without what they say."""

        async def work(session: WriteSession) -> None:
            for one in await operating.backlog(session):
                typer.echo(f"{one.waiting:>9,} wait, {one.parked:,} parked  {one.topic}")
            oldest = select(OutboxRow).order_by(OutboxRow.id).limit(limit)
            for row in await session.scalars(oldest):
                state = "parked" if row.parked else f"{row.attempts} attempts"
                typer.echo(f"{row.id}  {row.created_at:%Y-%m-%d %H:%M:%S}Z  {row.topic}  {state}")
                if row.reason:
                    typer.echo(f"    reason: {row.reason}")

        _run(work, OutboxRow)

    @commands.command()
    def retry(
        ids: Annotated[list[int] | None, typer.Argument(help="Which; all without.")] = None,
    ) -> None:
        """Deliver parked messages again, and after them the messages that wait behind them."""

        async def work(session: WriteSession) -> None:
            typer.echo(f"{await operating.redeliver(session, ids or []):,} are due again.")

        _run(work, OutboxRow)

    return commands


def _line(row: SagaRow) -> str:
    return f"{row.status:<11}  {row.direction:<8}  {row.name}  {row.key}"


def _run(work: Callable[[WriteSession], Awaitable[None]], model: Model) -> None:
    async def opened() -> None:
        async with Database.open() as database:
            await _with_table(database, model, work)

    asyncio.run(opened())


async def _with_table(
    database: Database,
    model: Model,
    work: Callable[[WriteSession], Awaitable[None]] | None = None,
) -> None:
    async with database.transaction() as session:
        if not await operating.has_table(session, model):
            raise UnknownSaga(
                f"This database has no table {model.__tablename__}: let migrations/env.py import "
                "the module that declares the first saga or topic, then type `uv run alembic "
                'revision --autogenerate -m "add sagas"` and `uv run alembic upgrade head`.'
            )
        if work is not None:
            await work(session)


def _serve(work: Work, model: Model) -> None:
    settings = load(DatabaseSettings)
    # Connections beyond the pool are closed after each transaction, and opened again for the next.
    both = {"pool_size": settings.pool_size + settings.max_overflow, "max_overflow": 0}

    async def opened() -> None:
        async with Database.open(settings.model_copy(update=both)) as database:
            await _with_table(database, model)
            async with serving() as (stop, registry), _counting(registry, database):
                await work(database, stop)

    run(opened())


def _counting(registry: Any, database: Database) -> AbstractAsyncContextManager[None]:
    if registry is None:
        return nullcontext()
    # Imported here: it imports prometheus-client, for which no other command should wait.
    from .metrics import saga_metrics

    return saga_metrics(registry, lambda: database)
