"""What `check` says about migrations."""

import pytest
from sqlalchemy import URL

from my_project.data_layer.checklist import Finding, Verdict
from my_project.data_layer.database.migrations import upgrade
from my_project.data_layer.database.migrations.checks import (
    migration_checks,
)

from .conftest import Scratch

IDS = [
    "DL-MIG-01",
    "DL-MIG-02",
    "DL-MIG-03",
    "DL-MIG-04",
    "DL-MIG-05",
    "DL-MIG-06",
    "DL-MIG-08",
    "DL-MIG-09",
]


async def probe(demand: str) -> Finding:
    [check] = [check for check in migration_checks() if check.id == demand]
    return await check.probe()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, empty_database_url: URL) -> URL:
    """The settings of the environment lead to an empty database."""
    url = empty_database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.delenv("MIGRATION_URL", raising=False)
    return empty_database_url


@pytest.fixture
def project(
    scratch: Scratch, settings: URL, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Scratch:
    """A scratch project in the current directory, whose settings lead to its database."""
    lint = (pytestconfig.rootpath / ".squawk.toml").read_text("utf-8")
    (scratch.folder / ".squawk.toml").write_text(lint, "utf-8")
    monkeypatch.chdir(scratch.folder)
    assert scratch.url == settings
    return scratch


@pytest.mark.usefixtures("settings")
async def test_a_migrated_project_passes_every_check(settings: URL) -> None:
    assert [check.id for check in migration_checks()] == IDS
    await upgrade(settings)
    for demand in IDS:
        finding = await probe(demand)
        assert finding.verdict is Verdict.PASSED, finding
        assert finding.evidence


BROKEN = {
    "DL-MIG-01": ("20260101_000001_Step.py", "op.execute('SELECT 1')", "op.execute('SELECT 1')"),
    "DL-MIG-02": ("20260101_000001_step.py", "op.execute('SELECT 1')", "pass"),
    "DL-MIG-06": ("20260101_000001_step.py", "op.drop_table('t')", "op.execute('SELECT 1')"),
    "DL-MIG-08": (
        "20260101_000001_step.py",
        "with op.get_context().autocommit_block():\n    op.execute('CREATE EXTENSION hstore')",
        "op.execute('SELECT 1')",
    ),
    "DL-MIG-09": ("20260101_000001_step.py", "op.execute('DELETE FROM t')", "op.drop_table('t')"),
}


@pytest.mark.parametrize("demand", BROKEN)
async def test_a_broken_rule_fails_its_check(project: Scratch, demand: str) -> None:
    name, up, down = BROKEN[demand]
    project.migration(up, down)
    (project.versions / "20260101_000001_step.py").rename(project.versions / name)
    for other in BROKEN:
        finding = await probe(other)
        assert (finding.verdict is Verdict.FAILED) is (other == demand), finding
        if other == demand:
            assert name in finding.evidence
            assert "migrations lint" in finding.remedy


@pytest.mark.standard("DL-MIG-03")
async def test_two_heads_fail(project: Scratch) -> None:
    project.migration("op.execute('SELECT 1')")
    assert (await probe("DL-MIG-03")).verdict is Verdict.PASSED
    (project.versions / "20260102_000000_other.py").write_text(
        'revision = "other"\ndown_revision = None\n', "utf-8"
    )
    assert (await probe("DL-MIG-03")).verdict is Verdict.FAILED


@pytest.mark.standard("DL-MIG-04")
async def test_a_database_that_is_behind_or_ahead_fails(project: Scratch) -> None:
    assert (await probe("DL-MIG-04")).verdict is Verdict.PASSED
    project.migration("op.execute('SELECT 1')")
    finding = await probe("DL-MIG-04")
    assert finding.verdict is Verdict.FAILED
    assert "alembic upgrade head" in finding.remedy
    await project.upgrade()
    assert (await probe("DL-MIG-04")).verdict is Verdict.PASSED
    project.query("UPDATE alembic_version SET version_num = 'of_tomorrow'")
    finding = await probe("DL-MIG-04")
    assert finding.verdict is Verdict.FAILED
    assert "of_tomorrow" in finding.evidence


DIFFERENCES = {
    "nothing": ("", "", ""),
    "table": ("Table('u', metadata, Column('i', Integer))", "", "add table u"),
    "column": (
        "Table('t', metadata, Column('i', Integer), Column('j', Text))",
        "",
        "add column t.j",
    ),
    "type": ("Table('t', metadata, Column('i', Text))", "", "modify type t.i"),
    "default": (
        "Table('t', metadata, Column('i', Integer, server_default='2'))",
        "ALTER TABLE t ALTER i SET DEFAULT 1",
        "modify default t.i",
    ),
    "null": (
        "Table('t', metadata, Column('i', Integer, nullable=False))",
        "",
        "modify nullable t.i",
    ),
    "index": ("Table('t', metadata, Column('i', Integer, index=True))", "", "add index t.ix_t_i"),
    "check": (
        "Table('t', metadata, Column('i', Integer), CheckConstraint('i > 0', name='positive'))",
        "",
        "add constraint t.positive",
    ),
}


@pytest.mark.standard("DL-MIG-05")
@pytest.mark.parametrize("difference", DIFFERENCES)
async def test_a_difference_between_models_and_schema_is_named(
    project: Scratch, difference: str
) -> None:
    tables, statement, evidence = DIFFERENCES[difference]
    project.query("CREATE TABLE t (i integer)")
    project.query(statement or "SELECT 1")
    if difference in {"nothing", "table"}:
        tables += "\nTable('t', metadata, Column('i', Integer))"
    imports = "from sqlalchemy import CheckConstraint, Column, Integer, Table, Text\n"
    project.models(imports + tables)
    finding = await probe("DL-MIG-05")
    if difference == "nothing":
        assert finding.verdict is Verdict.PASSED, finding
    else:
        assert finding.verdict is Verdict.FAILED
        assert evidence in finding.evidence
        assert "--autogenerate" in finding.remedy


@pytest.mark.standard("DL-MIG-06")
async def test_without_the_lint_s_tools_its_check_is_advice(
    project: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.migration("op.execute('SELECT 1')")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(project.folder / "python"))
    finding = await probe("DL-MIG-06")
    assert finding.verdict is Verdict.ADVICE
    assert "uv sync --group lint" in finding.remedy
