"""What `check` says of the lake, each finding shown to fail once; and the commands."""

import asyncio
import glob
import os
import time
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from my_project.data_layer.checklist import Verdict
from my_project.data_layer.duckdb import DuckDBError, Export, Lake, declarations
from my_project.data_layer.duckdb.checks import duckdb_checks
from my_project.data_layer.duckdb.commands import export_commands
from tests.layer.duckdb.conftest import Source, settings

DEMANDS = [f"DL-DU-0{number}" for number in range(1, 7)]


@pytest.fixture
async def days(source: Source, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Export:
    """An export that has run, on a database that the commands find."""
    source.run(
        "CREATE TABLE days AS SELECT date '2024-01-01' + n AS day, n"
        " FROM generate_series(0, 99) AS n"
    )
    address = source.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", address)
    statement = text("SELECT * FROM days")
    declared = Export("days", statement, time="day", every=timedelta(days=1))
    await source.export(lake, declared)
    return declared


def nothing() -> None:
    """Nothing is left to be declared."""


async def evidence(lake: Lake, demand: str) -> str:
    [check] = [one for one in duckdb_checks(lambda: lake, nothing) if one.id == demand]
    return (await check.probe()).evidence


async def verdicts(lake: Lake) -> dict[str, tuple[Verdict, str]]:
    found = {}
    for check in duckdb_checks(lambda: lake, nothing):
        finding = await check.probe()
        found[check.id] = (finding.verdict, f"{finding.evidence} {finding.remedy}")
    return found


@pytest.mark.standard("DL-DU-06")
async def test_all_pass_after_the_export(days: Export, lake: Lake) -> None:
    found = await verdicts(lake)
    assert sorted(found) == DEMANDS
    assert {verdict for verdict, _ in found.values()} == {Verdict.PASSED}, found


@pytest.mark.standard("DL-DU-01")
async def test_a_lake_that_is_no_folder_fails(days: Export, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lake = Lake(settings(tmp_path, lake=tmp_path / "file"))
    verdict, told = (await verdicts(lake))["DL-DU-01"]
    assert verdict is Verdict.FAILED
    assert "is a file" in told


@pytest.mark.standard("DL-DU-02")
async def test_an_export_that_did_not_run_is_late(days: Export, lake: Lake) -> None:
    lock = lake.lock(days)
    os.utime(lock, times=(0, time.time() - 2 * 86_400))
    verdict, told = (await verdicts(lake))["DL-DU-02"]
    assert verdict is Verdict.FAILED
    assert "Run `export run days`" in told
    lock.unlink()
    assert (await verdicts(lake))["DL-DU-02"][0] is Verdict.ADVICE


@pytest.mark.standard("DL-DU-03")
async def test_a_file_with_a_type_that_is_not_declared_is_found(days: Export, lake: Lake) -> None:
    # All files agree with each other, and none with the declaration.
    for file in lake.files(days):
        other = f"SELECT DATE '{file.begin}' AS day, 'text' AS n"
        duckdb.sql(other).write_parquet(str(file.path))
    verdict, told = (await verdicts(lake))["DL-DU-03"]
    assert verdict is Verdict.FAILED
    assert f"n is INTEGER, and VARCHAR in {file.path.name}" not in told  # three are enough
    assert "n is INTEGER, and VARCHAR in " in told
    assert "and 1 more" in told


async def test_columns_that_come_and_go_are_no_fault(
    days: Export, lake: Lake, source: Source
) -> None:
    source.run("ALTER TABLE days DROP n", "ALTER TABLE days ADD other text")
    assert (await verdicts(lake))["DL-DU-03"][0] is Verdict.PASSED


async def test_a_file_that_is_none_is_found(days: Export, lake: Lake) -> None:
    file = lake.files(days)[1].path
    file.write_bytes(b"no Parquet")
    assert f"days: {file.name} can't be read" in await evidence(lake, "DL-DU-03")


@pytest.mark.standard("DL-DU-04")
async def test_what_a_killed_export_left_is_found(days: Export, lake: Lake) -> None:
    left = lake.folder / ".my_days_tick_20240101_20240131.parquet.0.part"
    left.touch()
    verdict, told = (await verdicts(lake))["DL-DU-04"]
    assert verdict is Verdict.ADVICE
    assert left.name in told
    done = CliRunner().invoke(export_commands(lambda: lake, nothing), ["prune"])
    assert "Removed .my_days" in done.output
    assert not left.exists()


@pytest.mark.standard("DL-DU-05")
async def test_rows_that_came_late_are_found(days: Export, lake: Lake, source: Source) -> None:
    # What is newer than the newest exported row is none of its business.
    source.run("INSERT INTO days VALUES ('2024-02-10', -1), ('2024-07-01', 1)")
    verdict, told = (await verdicts(lake))["DL-DU-05"]
    assert verdict is Verdict.FAILED
    assert "has 29 rows from 2024-02-01 00:00, the database 30" in told
    await source.export(lake, days, since=date(2024, 2, 1))
    assert (await verdicts(lake))["DL-DU-05"][0] is Verdict.PASSED


async def test_rows_that_the_next_export_reads_are_advice_until_then(
    days: Export, lake: Lake, source: Source
) -> None:
    days.late = timedelta(days=7)
    source.run("INSERT INTO days VALUES ('2024-04-05', -1)")
    verdict, told = (await verdicts(lake))["DL-DU-05"]
    assert verdict is Verdict.ADVICE
    assert "the next export reads these again" in told
    assert (await asyncio.to_thread(run, lake, "verify")).startswith("0 ")
    await source.export(lake, days)
    assert (await verdicts(lake))["DL-DU-05"][0] is Verdict.PASSED
    # One day older than `late`, and no export will see it.
    source.run("INSERT INTO days VALUES ('2024-04-01', -1)")
    assert (await verdicts(lake))["DL-DU-05"][0] is Verdict.FAILED


async def test_a_retention_that_cuts_a_period_is_no_fault(
    days: Export, lake: Lake, source: Source
) -> None:
    source.run("DELETE FROM days WHERE day < '2024-03-15'")
    assert (await verdicts(lake))["DL-DU-05"][0] is Verdict.PASSED
    assert (await asyncio.to_thread(run, lake, "verify")).startswith("0 ")
    # What is gone behind the oldest row is none.
    source.run("DELETE FROM days WHERE day = '2024-03-20'")
    verdict, told = (await verdicts(lake))["DL-DU-05"]
    assert verdict is Verdict.FAILED
    assert "has 17 rows from 2024-03-15 00:00, the database 16" in told
    source.run("DELETE FROM days")
    assert (await verdicts(lake))["DL-DU-05"][0] is Verdict.PASSED


@pytest.mark.standard("DL-DU-06")
async def test_an_extension_that_does_not_fit_fails(tmp_path: Path) -> None:
    wrong = tmp_path / "postgres_scanner.duckdb_extension"
    wrong.write_bytes(b"not one")
    lake = Lake(settings(tmp_path, extension=wrong))
    [check] = [one for one in duckdb_checks(lambda: lake, nothing) if one.id == "DL-DU-06"]
    with pytest.raises(Exception, match="can't load postgres_scanner"):
        await check.probe()


@pytest.mark.parametrize("arguments", [["ls"], ["run"], ["verify"], ["query", "sum.sql"]])
def test_a_command_declares_the_exports_that_it_needs(
    days: Export,
    lake: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    (tmp_path / "sum.sql").write_text("SELECT count(*) AS days FROM days", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(declarations, "_declared", {})

    def declare() -> None:
        declarations._declared["days"] = days

    done = CliRunner().invoke(export_commands(lambda: lake, declare), arguments)

    assert done.exit_code == 0, done.exception
    assert "days" in done.output


@pytest.mark.parametrize(
    ("demand", "words"), [("DL-DU-02", "days"), ("DL-DU-03", "4 files"), ("DL-DU-05", "days")]
)
async def test_a_check_declares_the_exports_that_it_looks_at(
    days: Export, lake: Lake, monkeypatch: pytest.MonkeyPatch, demand: str, words: str
) -> None:
    monkeypatch.setattr(declarations, "_declared", {})

    def declare() -> None:
        declarations._declared["days"] = days

    [check] = [one for one in duckdb_checks(lambda: lake, declare) if one.id == demand]

    assert words in (await check.probe()).evidence


def run(lake: Lake, *arguments: str) -> str:
    done = CliRunner().invoke(export_commands(lambda: lake, nothing), list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return f"{done.exit_code} {done.output}"


def test_commands_export_show_verify_and_query(days: Export, lake: Lake, tmp_path: Path) -> None:
    assert run(lake, "run") == "0 days: nothing new.\n"
    assert "days: 100 rows read, 4 files written" in run(
        lake, "run", "days", "--since", "2024-01-01"
    )
    assert "2024-05-01" in run(lake, "ls")
    assert "4 files compared, 0 differ" in run(lake, "verify")
    statement = tmp_path / "sums.sql"
    statement.write_text(
        "SELECT CAST(sum(n) AS BIGINT) AS total FROM days WHERE n < CAST($below AS BIGINT)"
    )
    assert "45" in run(lake, "query", str(statement), "-p", "below=10")
    for suffix in ("parquet", "csv", "json"):
        output = tmp_path / f"sums.{suffix}"
        told = run(lake, "query", str(statement), "-p", "below=10", "--output", str(output))
        assert "1 rows in" in told
        assert duckdb.sql(f"SELECT * FROM '{output}'").fetchall() == [(45,)]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_an_answer_of_any_type_is_kept(lake: Lake, tmp_path: Path, suffix: str) -> None:
    file, output = tmp_path / "asked.sql", tmp_path / f"label=a[1].{suffix}"
    file.write_text("SELECT [1, 2] AS list, INTERVAL 1 DAY AS day, TIMESTAMP 'infinity' AS t")
    told = run(lake, "query", str(file), "--output", str(output))
    assert told.startswith("0 1 rows in")
    assert duckdb.sql(f"SELECT list FROM '{glob.escape(str(output))}'").fetchall() in (
        [([1, 2],)],
        [("[1, 2]",)],
    )


@pytest.mark.parametrize(
    ("statement", "suffix", "words"),
    [
        (b"SELECT CAST(if(i = 99999, 'x', '1') AS INT) FROM range(100000) AS t(i)", "csv", "'x'"),
        (b"SELECT '\xff'", "csv", "it is not UTF-8"),
        (b"SELECT 1", "xlsx", "ends in none of"),
    ],
)
def test_an_answer_that_cannot_be_kept_leaves_no_file(
    lake: Lake, tmp_path: Path, statement: bytes, suffix: str, words: str
) -> None:
    file, output = tmp_path / "asked.sql", tmp_path / f"answer.{suffix}"
    file.write_bytes(statement)
    done = CliRunner().invoke(
        export_commands(lambda: lake, nothing), ["query", str(file), "--output", str(output)]
    )
    assert isinstance(done.exception, DuckDBError)
    assert words in str(done.exception)
    assert list(tmp_path.glob("*answer*")) == []


def test_verify_tells_a_difference_by_its_exit_code(
    days: Export, lake: Lake, source: Source
) -> None:
    source.run("DELETE FROM days WHERE n = 5")
    assert run(lake, "verify").startswith("1 ")
