"""What `check` asks about the time series: DL-TS."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from alembic import command
from sqlalchemy import Connection, text

from ..checklist import Check, Finding, advice, failed, once, passed
from ..database import Base, Database
from ..database.migrations.runner import alembic_config, run_command
from . import catalog, extension
from .autogenerate import declared_catalog, redefined
from .catalog import Catalog
from .declarations import aggregates, erasing
from .operations import literal
from .state import AggregateState, HypertableState, Key, State, identifier, quote

MIGRATE = (
    'Run `uv run alembic revision --autogenerate -m "what changes"`, read the file, and upgrade.'
)
_STOP = (
    "Stop the policy at once with remove_continuous_aggregate_policy, then migrate to what is "
    "declared (`uv run alembic revision --autogenerate`): the migration sets a window that is safe."
)
# More chunks than that make planning slow; a ratio below that is not worth the columnstore.
MANY_CHUNKS = 2_000
POOR_RATIO = 1.5
WORTH_JUDGING = 10_000_000


def timescaledb_checks() -> list[Check]:
    """The checks of the time series, in the order of the report."""
    server = _Server()
    return [
        Check("DL-TS-01", "TimescaleDB is there, in the Community edition", server.extension),
        Check("DL-TS-02", "Hypertables have the declared chunk interval", server.chunk_intervals),
        Check("DL-TS-03", "The columnstore is as declared", server.columnstores),
        Check("DL-TS-04", "Retention is as declared", server.retentions),
        Check("DL-TS-05", "Continuous aggregates are as declared", server.aggregates),
        Check("DL-TS-06", "Continuous aggregates are fresh", server.freshness),
        Check("DL-TS-07", "The jobs of the policies succeed", server.jobs),
        Check("DL-TS-08", "Chunks are few and compress well", server.sizes, required=False),
        Check("DL-TS-09", "No refresh reaches into dropped data", server.windows),
    ]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the models declare and what the database says."""

    declared: Catalog
    found: Catalog
    unfit: str | None
    redefined: set[Key]
    unsafe: dict[Key, catalog.Reach]
    stale: list[str]
    failures: list[str]
    sizes: list[Any]


class _Server:
    def __init__(self) -> None:
        self.facts = once(_ask)

    async def extension(self) -> Finding:
        facts = await self.facts()
        if not facts.declared.hypertables and facts.unfit:
            return advice("No hypertable is declared yet.", "See docs/data-layer/timescaledb.md.")
        if facts.unfit:
            return failed(facts.unfit, "Do that first; then migrate, and look at the other checks.")
        return passed("The Community edition of TimescaleDB is installed and preloaded.")

    async def chunk_intervals(self) -> Finding:
        return await self._compare(
            "hypertables",
            lambda state: (
                (state.time_column, state.chunk_interval)
                if isinstance(state, HypertableState)
                else None
            ),
            "a chunk interval of its own",
        )

    async def columnstores(self) -> Finding:
        return await self._compare(
            "relations",
            lambda state: state.columnstore,
            "another columnstore or none",
        )

    async def retentions(self) -> Finding:
        return await self._compare(
            "relations", lambda state: state.retention, "another retention or none"
        )

    async def aggregates(self) -> Finding:
        facts = await self.facts()
        if facts.redefined:
            names = ", ".join(sorted(name for _, name in facts.redefined))
            return failed(f"The SELECT of {names} is another in the database.", MIGRATE)
        return await self._compare(
            "aggregates",
            lambda state: (
                (state.real_time, state.refresh) if isinstance(state, AggregateState) else None
            ),
            "another refresh policy or none",
        )

    async def freshness(self) -> Finding:
        facts = await self.facts()
        if facts.stale:
            return failed(
                " ".join(facts.stale),
                "See which job failed in timescaledb_information.job_errors, and refresh.",
            )
        return passed(f"Every aggregate ({len(facts.declared.aggregates)}) is within its policy.")

    async def jobs(self) -> Finding:
        facts = await self.facts()
        found = passed("The last run of every job succeeded, or is still to come.")
        if facts.failures:
            found = failed(
                " ".join(facts.failures),
                "See timescaledb_information.job_errors; let a paused job go on with "
                "SELECT alter_job(number, scheduled => true).",
            )
        return found.measured({"failing": len(facts.failures)})

    async def sizes(self) -> Finding:
        facts = await self.facts()
        told, poor = [], []
        figures: dict[str, float] = {}
        for row in facts.sizes:
            ratio = row.before / row.after if row.before and row.after else None
            shown = "" if ratio is None else f", compressed {ratio:.1f} times"
            told.append(f"{row.name} has {row.chunks} chunks{shown}")
            figures[f"chunks of {row.name}"] = row.chunks
            if ratio is not None:
                figures[f"ratio of {row.name}"] = ratio
            if row.chunks > MANY_CHUNKS:
                poor.append(f"{row.name} has {row.chunks} chunks: let its chunk interval be longer")
            if ratio is not None and ratio < POOR_RATIO and row.before > WORTH_JUDGING:
                poor.append(f"{row.name} compresses {ratio:.1f} times: segment it by other columns")
        evidence = f"{'; '.join(told) or 'There is no hypertable yet'}."
        found = advice(evidence, f"{'; '.join(poor)}.") if poor else passed(evidence)
        return found.measured(figures)

    async def windows(self) -> Finding:
        facts = await self.facts()
        for state in facts.found.aggregates.values():
            source = facts.found.relations.get(state.source)
            if source is None or source.retention is None or state.refresh is None:
                continue
            retention = source.retention
            start = state.refresh.start_offset
            if start is None or start.longest >= retention.shortest:
                return failed(erasing(state.name, start, state.source[1], retention), _STOP)
        for key, reach in facts.unsafe.items():
            state = facts.found.aggregates[key]
            return failed(
                f"The next refresh of {state.name} would erase its history: {state.source[1]} has "
                f"lost rows up to {reach.lost:%Y-%m-%d %H:%M %Z}, and the policy reaches further "
                "back.",
                _STOP,
            )
        return passed("Every refresh begins where its source still has all rows.")

    async def _compare(
        self, kind: str, wanted: Callable[[State], object], difference: str
    ) -> Finding:
        facts = await self.facts()
        declared = getattr(facts.declared, kind)
        found = getattr(facts.found, kind)
        missing = [state.name for key, state in declared.items() if key not in found]
        if missing:
            return failed(
                f"The database has no {', '.join(missing)} as declared.",
                f"Run `uv run alembic upgrade head`. If they are in no migration yet: {MIGRATE}",
            )
        other = [
            state.name for key, state in declared.items() if wanted(found[key]) != wanted(state)
        ]
        if other:
            return failed(f"The database gives {', '.join(other)} {difference}.", MIGRATE)
        return passed(f"All {kind} ({len(declared)}) are as declared.")


async def _ask() -> _Facts:
    # This command imports the models; the layer does not know where they are.
    config = alembic_config()
    config.stdout = io.StringIO()
    await run_command(command.current, config)
    async with Database.open() as database, database.transaction() as session:
        connection = await session.connection()
        return await connection.run_sync(_facts_of)


def _facts_of(connection: Connection) -> _Facts:
    declared = declared_catalog(Base.metadata)
    unfit = extension.unfit(connection)
    found = catalog.read(connection)
    if unfit:
        return _Facts(declared, found, unfit, set(), {}, [], [], [])
    changed = redefined(declared, found, connection)
    reaches = {
        key: catalog.reach(connection, key)
        for key in declared.aggregates.keys() & found.aggregates.keys()
    }
    return _Facts(
        catalog.attainable(connection, declared, found, redefined=changed),
        found,
        None,
        changed,
        {
            key: reach
            for key, reach in sorted(reaches.items())
            if (policy := found.aggregates[key].refresh) and not reach.allows(policy.start_offset)
        },
        list(_stale(connection, found)),
        [
            f"Job {row.job_id} ({row.proc_name}) of {row.relation} {row.trouble}."
            for row in connection.execute(_FAILURES)
        ],
        list(connection.execute(_SIZES)),
    )


def _stale(connection: Connection, found: Catalog) -> Iterable[str]:
    """Aggregates that lack a bucket which their policy should have materialized by now."""
    stored = {
        (row.schema, row.name): identifier(row.stored_schema, row.stored_name)
        for row in connection.execute(_STORED)
    }
    default = connection.dialect.default_schema_name
    for declared in aggregates(Base.metadata):
        state = found.aggregates.get((declared.schema, declared.name))
        if state is None or state.refresh is None:
            continue
        # By the clock of its time zone, where a day has 23 to 25 hours.
        end = f"max({quote(declared.bucket_column)})"
        if declared.timezone is not None:
            zone = literal(declared.counted_in or "UTC")
            end = f"({end} AT TIME ZONE {zone} + INTERVAL '{declared.bucket}') AT TIME ZONE {zone}"
        else:
            end = f"{end} + INTERVAL '{declared.bucket}'"
        hypertable = found.hypertables.get(state.source)
        if hypertable is not None:
            source = identifier(*hypertable.key)
            time = quote(hypertable.time_column)
        else:
            below = declared.source
            source = stored[state.source[0] or default, state.source[1]]
            time = quote(getattr(below, "bucket_column", ""))
        # A bucket is due once its end is older than `end_offset`, and the policy has run since; a
        # run may be late by another interval.
        overdue = connection.execute(
            text(
                f"SELECT max({time}) AS newest FROM {source} WHERE {time} < now()"  # noqa: S608
                " - CAST(:end_offset AS interval) - 2 * CAST(:every AS interval)"
                f" - INTERVAL '{declared.bucket}'"
                f" AND {time} >= coalesce((SELECT {end}"
                f" FROM {stored[state.schema or default, state.name]}), '-infinity')"
            ),
            {
                "end_offset": str(state.refresh.end_offset or "0 seconds"),
                "every": str(state.refresh.every),
            },
        ).scalar()
        if overdue is not None:
            yield f"{state.name} lacks the bucket of {overdue:%Y-%m-%d %H:%M}."


_STORED = text(
    "SELECT view_schema AS schema, view_name AS name, materialization_hypertable_schema AS"
    " stored_schema, materialization_hypertable_name AS stored_name"
    " FROM timescaledb_information.continuous_aggregates"
)
_FAILURES = text(
    """
    SELECT
        j.job_id,
        j.proc_name,
        j.hypertable_name AS relation,
        CASE
            WHEN NOT j.scheduled THEN 'is paused'
            ELSE concat('failed last', ': ' || (
                SELECT e.err_message FROM timescaledb_information.job_errors AS e
                WHERE e.job_id = j.job_id ORDER BY e.finish_time DESC LIMIT 1
            ))
        END AS trouble
    FROM timescaledb_information.jobs AS j
    LEFT JOIN timescaledb_information.job_stats AS s USING (job_id)
    WHERE
        j.hypertable_name IS NOT NULL
        AND (s.last_run_status = 'Failed' OR NOT j.scheduled)
    ORDER BY j.job_id
    """
)
_SIZES = text(
    "SELECT h.hypertable_name AS name, h.num_chunks AS chunks,"
    " stats.before_compression_total_bytes AS before, stats.after_compression_total_bytes AS after"
    " FROM timescaledb_information.hypertables AS h LEFT JOIN LATERAL"
    " hypertable_columnstore_stats(format('%I.%I', h.hypertable_schema, h.hypertable_name)"
    "::regclass) AS stats ON h.compression_enabled ORDER BY 1"
)
