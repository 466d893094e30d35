"""The safety lint: squawk over the SQL of each migration."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from my_project.data_layer.commands import migrations_commands
from my_project.data_layer.database.migrations import MigrationError

from .conftest import Scratch

HAZARDS = [
    ('op.create_index("ix_t_i", "t", ["i"])', "require-concurrent-index-creation"),
    ('op.alter_column("t", "i", nullable=False)', "adding-not-nullable-field"),
    ('op.alter_column("t", "i", type_=sa.BigInteger())', "changing-column-type"),
    ('op.drop_column("t", "i")', "ban-drop-column"),
    ('op.rename_table("t", "u")', "renaming-table"),
    ('op.create_check_constraint("c", "t", "i > 0")', "constraint-missing-not-valid"),
]


@pytest.fixture
def project(
    scratch: Scratch, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Scratch:
    """The scratch environment as a project: with a lint configuration, in the current directory."""
    settings = (pytestconfig.rootpath / ".squawk.toml").read_text("utf-8")
    (scratch.folder / ".squawk.toml").write_text(settings, "utf-8")
    monkeypatch.chdir(scratch.folder)
    return scratch


@pytest.mark.standard("DL-MIG-06")
def test_the_project_passes() -> None:
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert result.exit_code == 0, result.output


@pytest.mark.standard("DL-MIG-06")
def test_each_hazard_is_found_in_its_file(project: Scratch) -> None:
    project.migration('op.create_table("t", sa.Column("i", sa.Integer))', 'op.drop_table("t")')
    for statement, _ in HAZARDS:
        project.migration(statement, 'irreversible("a test")')
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert result.exit_code == 1
    for number, (_, rule) in enumerate(HAZARDS, start=2):
        assert f"20260101_{number:06}_step.py: {rule}: " in result.output
    assert "20260101_000001_step.py" not in result.output
    assert "CREATE INDEX ix_t_i ON t (i);" in result.output


@pytest.mark.standard("DL-MIG-06")
def test_the_safe_ways_pass(project: Scratch) -> None:
    project.migration('op.create_table("t", sa.Column("i", sa.Integer))', 'op.drop_table("t")')
    project.migration(
        'create_index_concurrently("ix_t_i", "t", ["i"])', 'drop_index_concurrently("ix_t_i", "t")'
    )
    project.migration(
        'op.create_check_constraint("c", "t", "i > 0", postgresql_not_valid=True)',
        'op.drop_constraint("c", "t")',
    )
    project.migration('validate_constraint("c", "t")', 'irreversible("it may stay valid.")')
    project.migration(
        'in_batches("UPDATE t SET i = 1 WHERE i BETWEEN :first AND :last", of="t", key="i")',
        'irreversible("the old values are gone.")',
    )
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert result.exit_code == 0, result.output
    assert "Migrations judged: 5." in result.output


@pytest.mark.standard("DL-MIG-06")
def test_a_hazard_can_be_accepted_in_the_file(project: Scratch) -> None:
    project.migration('op.create_table("t", sa.Column("i", sa.Integer))', 'op.drop_table("t")')
    project.migration(
        '# no code reads it any more\nop.drop_column("t", "i")', 'irreversible("a test")'
    )
    file = project.versions / "20260101_000002_step.py"
    file.write_text(f"# -- squawk-ignore-file ban-drop-column\n{file.read_text('utf-8')}", "utf-8")
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert result.exit_code == 0, result.output


@pytest.mark.standard("DL-MIG-02")
def test_our_own_rules_are_part_of_it(project: Scratch) -> None:
    project.migration("op.execute('SELECT 1')", "pass")
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert result.exit_code == 1
    assert "downgrade() is empty" in result.output


@pytest.mark.standard("DL-MIG-06")
def test_only_what_changed_since_the_base(project: Scratch) -> None:
    project.migration('op.create_table("t", sa.Column("i", sa.Integer))', 'op.drop_table("t")')
    project.migration(HAZARDS[0][0], 'irreversible("a test")')
    _git(project.folder, "init", "--quiet")
    _git(project.folder, "add", "--all")
    _git(project.folder, "commit", "--quiet", "--message", "old")
    project.migration(HAZARDS[1][0], 'irreversible("a test")')
    _git(project.folder, "add", "--all")
    _git(project.folder, "commit", "--quiet", "--message", "new")
    result = CliRunner().invoke(migrations_commands, ["lint", "--base", "HEAD~1"])
    assert result.exit_code == 1
    assert HAZARDS[1][1] in result.output
    assert HAZARDS[0][1] not in result.output


def test_no_migration_yet(project: Scratch) -> None:
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert result.exit_code == 0, result.output


def test_a_migration_that_can_not_be_read_is_one_sentence(project: Scratch) -> None:
    project.migration("raise ValueError('no')", 'irreversible("a test")')
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert isinstance(result.exception, MigrationError)
    assert "ValueError: no" in str(result.exception)


def test_without_its_tools_the_lint_says_what_to_type(
    project: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.migration("op.execute('SELECT 1')", 'irreversible("a test")')
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(project.folder / "python"))
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert isinstance(result.exception, MigrationError)
    assert "uv sync --group lint" in str(result.exception)


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.standard("DL-MIG-01")
@pytest.mark.standard("DL-MIG-06")
def test_a_history_is_judged_from_its_baseline_on(project: Scratch) -> None:
    """What came before may have any name, lack a way back, and ask a database."""
    project.migration('assert op.get_bind().scalar(sa.text("SELECT 1")) == 1')
    first = project.versions / "20260101_000001_step.py"
    first.rename(project.versions / "m1_initial.py")
    for statement in (
        'op.create_table("t", sa.Column("i", sa.Integer))',
        'op.drop_column("t", "i")',
    ):
        project.migration(statement, 'irreversible("a test")')
    without = CliRunner().invoke(migrations_commands, ["lint"])
    assert isinstance(without.exception, MigrationError)

    settings = project.ini.read_text("utf-8")
    project.ini.write_text(settings.replace("[alembic]", "[alembic]\nMIGRATIONS_BASELINE = m2"))
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert result.exit_code == 1
    assert "m1_initial.py" not in result.output
    assert "20260101_000003_step.py: ban-drop-column: " in result.output

    project.ini.write_text(settings.replace("[alembic]", "[alembic]\nmigrations_baseline = m9"))
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert isinstance(result.exception, MigrationError)
    assert "names m9, which is no revision" in str(result.exception)


@pytest.mark.standard("DL-MIG-03")
def test_a_history_may_have_begun_twice_before_its_baseline(project: Scratch) -> None:
    for _ in range(3):
        project.migration("pass")
    _, second, third = sorted(project.versions.glob("*.py"))
    for file, follows, instead in (
        (second, "'m1'", "None"),
        (third, "'m2'", "('m1', 'm2')"),
    ):
        text = file.read_text("utf-8")
        file.write_text(text.replace(f"down_revision = {follows}", f"down_revision = {instead}"))
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert "are each the first migration" in result.output

    settings = project.ini.read_text("utf-8")
    project.ini.write_text(settings.replace("[alembic]", "[alembic]\nmigrations_baseline = m3"))
    assert CliRunner().invoke(migrations_commands, ["lint"]).exit_code == 0


@pytest.mark.standard("DL-MIG-06")
def test_migrations_of_another_folder_are_judged(project: Scratch) -> None:
    project.migration('op.create_table("t", sa.Column("i", sa.Integer))', 'op.drop_table("t")')
    project.migration('op.drop_column("t", "i")', 'irreversible("a test")')
    (project.folder / "migrations").rename(project.folder / "schema")
    settings = project.ini.read_text("utf-8")
    project.ini.write_text(settings.replace("%(here)s/migrations", "schema"))
    result = CliRunner().invoke(migrations_commands, ["lint"])
    assert "20260101_000002_step.py: ban-drop-column: " in result.output
