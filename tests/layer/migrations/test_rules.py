"""What a migration file must keep to."""

from pathlib import Path

import pytest

from my_project.data_layer.database.migrations.rules import (
    problems_in,
    problems_of_line,
)

from .conftest import Scratch

UP = 'def upgrade() -> None:\n    op.execute("CREATE TABLE t (i int)")\n'
DOWN = 'def downgrade() -> None:\n    op.execute("DROP TABLE t")\n'


def demands(folder: Path, source: str) -> list[str]:
    file = folder / "20260101_120000_step.py"
    file.write_text(source, "utf-8")
    problems = problems_in([file])
    assert all(file.name in problem.sentence for problem in problems)
    return [problem.demand for problem in problems]


@pytest.mark.standard("DL-MIG-02")
@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "...",
        '"""Nothing."""',
        "return",
        "return None",
        "raise NotImplementedError",
        "raise NotImplementedError()",
        'raise NotImplementedError(" ")',
        'irreversible("")',
        "irreversible()",
        "operations.irreversible('')",
        '"""Nothing."""\n    pass',
    ],
)
def test_an_empty_downgrade_is_refused(tmp_path: Path, body: str) -> None:
    assert demands(tmp_path, f"{UP}def downgrade() -> None:\n    {body}\n") == ["DL-MIG-02"]


@pytest.mark.standard("DL-MIG-02")
@pytest.mark.parametrize(
    "body",
    [
        'op.drop_table("t")',
        'irreversible("the old values are gone")',
        'raise NotImplementedError("the old values are gone")',
        'irreversible(f"{table} is gone")',
        "for table in TABLES:\n        op.drop_table(table)",
    ],
)
def test_a_downgrade_that_does_or_says_something_is_fine(tmp_path: Path, body: str) -> None:
    assert demands(tmp_path, f"{UP}def downgrade() -> None:\n    {body}\n") == []


@pytest.mark.standard("DL-MIG-02")
@pytest.mark.parametrize(
    "source",
    [UP, DOWN, f"def upgrade() -> None:\n    pass\n{DOWN}", "def upgrade( -> None"],
)
def test_a_direction_that_is_missing_is_refused(tmp_path: Path, source: str) -> None:
    assert demands(tmp_path, source) == ["DL-MIG-02"]


@pytest.mark.standard("DL-MIG-09")
@pytest.mark.parametrize(
    "statement",
    [
        'op.execute("UPDATE t SET i = 1")',
        'op.execute("""\n        update only t set i = 1\n    """)',
        'op.get_bind().execute(sa.text("DELETE FROM t"))',
        'op.execute(f"UPDATE {table} SET i = 1")',
        "op.execute(t.update().values(i=1))",
        "op.execute(sa.delete(t))",
        'sql = "DELETE FROM t WHERE i = 1"\n    op.execute(sql)',
    ],
)
def test_rows_changed_without_batches_are_refused(tmp_path: Path, statement: str) -> None:
    source = f"def upgrade() -> None:\n    {statement}\n{DOWN}"
    assert demands(tmp_path, source) == ["DL-MIG-09"]
    reasoned = f"def upgrade() -> None:\n    # unbatched: twelve rows\n    {statement}\n{DOWN}"
    if "sql =" not in statement:
        assert demands(tmp_path, reasoned) == []


@pytest.mark.standard("DL-MIG-09")
@pytest.mark.parametrize(
    "statement",
    [
        'in_batches("UPDATE t SET i = 1 WHERE id BETWEEN :first AND :last", of="t")',
        'op.execute("CREATE TRIGGER x BEFORE UPDATE ON t EXECUTE FUNCTION f()")',
        "op.execute(\"COMMENT ON TABLE t IS 'update set'\")",
        'op.create_foreign_key("fk", "t", "u", ["i"], ["i"], ondelete="CASCADE")',
    ],
)
def test_what_only_looks_like_an_update_is_fine(tmp_path: Path, statement: str) -> None:
    docstring = '"""UPDATE t SET i = 1"""'
    source = f"{docstring}\ndef upgrade() -> None:\n    {statement}\n{DOWN}"
    assert demands(tmp_path, source) == []


@pytest.mark.standard("DL-MIG-08")
@pytest.mark.parametrize(
    ("statement", "fine"),
    [
        ('op.create_index("x", "t", ["i"], postgresql_concurrently=True)', False),
        ('op.create_index("x", "t", ["i"], if_not_exists=True)', True),
        ('op.drop_index("x", postgresql_concurrently=True)', False),
        ('op.drop_index("x", if_exists=True)', True),
        ("op.execute(\"ALTER TYPE mood ADD VALUE 'so'\")", False),
        ("op.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'so'\")", True),
        ('op.execute("VACUUM t")', True),
        ('create_index_concurrently("x", "t", ["i"])', True),
    ],
)
def test_what_runs_outside_of_a_transaction_can_be_repeated(
    tmp_path: Path, statement: str, *, fine: bool
) -> None:
    block = f"with op.get_context().autocommit_block():\n        {statement}"
    found = demands(tmp_path, f"def upgrade() -> None:\n    {block}\n{DOWN}")
    assert found == ([] if fine else ["DL-MIG-08"])


@pytest.mark.standard("DL-MIG-03")
def test_two_last_migrations_are_refused(scratch: Scratch) -> None:
    scratch.migration("op.execute('SELECT 1')")
    scratch.migration("op.execute('SELECT 1')")
    assert problems_of_line(scratch.config()) == []
    (scratch.versions / "20260102_000000_other.py").write_text(
        'revision = "other"\ndown_revision = "m1"\n', "utf-8"
    )
    [problem] = problems_of_line(scratch.config())
    assert "20260101_000002_step.py and 20260102_000000_other.py" in problem.sentence
    assert "last migration" in problem.sentence


@pytest.mark.standard("DL-MIG-03")
def test_two_first_migrations_are_refused(scratch: Scratch) -> None:
    scratch.migration("op.execute('SELECT 1')")
    (scratch.versions / "20260102_000000_other.py").write_text(
        'revision = "other"\ndown_revision = None\n', "utf-8"
    )
    sentences = [problem.sentence for problem in problems_of_line(scratch.config())]
    assert any("first migration" in sentence for sentence in sentences)
