"""The commands `queue worker`, `scheduler`, `jobs` and `dead-letters`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer
from taskiq import async_shared_broker

from ...database import Database
from ...project import COMMAND
from ...serving import run, serving
from ..cache import Cache
from ..errors import QueueError
from ..store import Store
from .queue import Queue
from .tasks import schedules
from .worker import run_scheduler, run_worker

_EXAMPLES = f"""
**Examples**

`{COMMAND} queue worker` — do the jobs of the queue; start as many as you need

`{COMMAND} queue scheduler` — send the tasks that have a schedule

`{COMMAND} queue dead-letters retry --all` — try again what has failed for good
"""


def queue_commands(declare: Callable[[], None]) -> typer.Typer:
    """The group `queue`; `declare` imports the modules that declare tasks."""
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", epilog=_EXAMPLES)
    dead_letters = typer.Typer(
        help="Jobs that failed for good: look at them, try them again.", no_args_is_help=True
    )

    @commands.command()
    def worker() -> None:
        """Do the jobs of the queue until Ctrl-C or SIGTERM, then end those that run.

        It knows the tasks of the modules that `__main__.py` names.
        """
        declare()
        run(_work())

    @commands.command()
    def scheduler() -> None:
        """Send the tasks that have a schedule, until Ctrl-C or SIGTERM.

        Several may run: each tick is sent once.
        """
        declare()
        run(_schedule())

    @commands.command()
    def jobs() -> None:
        """Say how many jobs wait, run and are dead."""

        async def say(queue: Queue) -> None:
            state = await queue.state()
            typer.echo(
                f"{state.jobs - state.running:,} waiting, {state.running:,} running, "
                f"{state.delayed:,} delayed, {state.dead:,} dead; {state.workers} workers; "
                f"the oldest job is {state.oldest:,.0f} s old."
            )

        _ask(say)

    @dead_letters.command("ls")
    def list_(
        limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    ) -> None:
        """Show the dead letters, newest first, each with the reason."""

        async def show(queue: Queue) -> None:
            letters = await queue.dead_letters(limit=limit)
            # Lines, not a table, which a narrow terminal would cut.
            for letter in letters:
                typer.echo(f"{letter.id}  {letter.died_at:%Y-%m-%d %H:%M:%S}Z  {letter.task}")
                typer.echo(f"    arguments: {letter.arguments}")
                typer.echo(f"    reason: {' '.join(letter.reason.split())}")
            typer.echo(f"{len(letters):,} of {(await queue.state()).dead:,} dead letters.")

        _ask(show)

    @dead_letters.command()
    def retry(
        ids: Annotated[list[str] | None, typer.Argument(help="Which ones.")] = None,
        every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    ) -> None:
        """Put dead letters back into the queue; each may be attempted as often as a new job.

        Ends with 1 when no dead letter has one of the ids.
        """
        if bool(ids) == every:
            raise QueueError(
                "Name the ids that `dead-letters ls` shows, or give --all; one of both."
            )

        async def put_back(queue: Queue) -> None:
            chosen = ids or [letter.id for letter in await queue.dead_letters(limit=1_000_000)]
            gone = [one for one in chosen if not await queue.retry(one)]
            typer.echo(f"{len(chosen) - len(gone):,} of {len(chosen):,} are in the queue again.")
            if ids and gone:
                typer.echo(f"No dead letter has the id {', '.join(gone)}.", err=True)
                raise typer.Exit(1)

        _ask(put_back)

    commands.add_typer(dead_letters, name="dead-letters")
    return commands


def _ask(work: Callable[[Queue], Coroutine[Any, Any, None]]) -> None:
    async def opened() -> None:
        async with Queue.open() as queue:
            await work(queue)

    asyncio.run(opened())


async def _work() -> None:
    if not async_shared_broker.get_all_tasks():
        raise QueueError(
            "No task is declared; name the modules that declare yours in __main__.py, as "
            "create_cli(declares=[…])."
        )
    async with Queue.open() as queue:
        await queue.state()  # says at once that the server does not answer
        async with (
            Database.open() as database,
            Store.open() as store,
            Cache.open(store) as cache,
            serving() as (stop, _),
        ):
            await run_worker(queue, stop, {Database: database, Store: store, Cache: cache})


async def _schedule() -> None:
    async with Queue.open() as queue:
        await queue.state()
        if not schedules():
            raise QueueError(
                "No task has a schedule; declare one with @task(…, schedule=…), and name its "
                "module in __main__.py, as create_cli(declares=[…])."
            )
        async with serving() as (stop, _):
            running = asyncio.create_task(run_scheduler(queue))
            told = asyncio.create_task(stop.wait())
            await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
