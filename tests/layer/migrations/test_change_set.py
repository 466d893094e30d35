"""Schema and code apart, judged on real repositories."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from my_project.data_layer.change_set import files_since, mixed_files
from my_project.data_layer.commands import migrations_commands
from my_project.data_layer.errors import DataLayerError
from my_project.data_layer.modules import source

ZEROS = "0" * 40
FIRST = "migrations/versions/20260101_000001_first.py"
SECOND = "migrations/versions/20260101_000002_second.py"


class Repository:
    """A git repository with a project in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--initial-branch=main", "--quiet")
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.org")
        self.git("config", "commit.gpgsign", "false")
        self.commit("alembic.ini", "src/app/main.py", "src/app/market/models.py")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, *names: str) -> str:
        """Add a line to each file and commit them."""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write("line\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """`main` has one migration; the branch `work` is checked out."""
    repository = Repository(tmp_path)
    repository.commit(FIRST)
    repository.git("checkout", "--quiet", "-b", "work")
    return repository


@pytest.mark.standard("DL-MIG-07")
def test_schema_and_code_at_once_are_refused(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(SECOND)
    repository.commit("src/app/main.py", "src/app/market/models.py", "src/app/sql/new.sql")
    code, verdict = mixed_files("main", repository.folder)
    assert code == ["src/app/main.py", "src/app/sql/new.sql"]
    assert SECOND in verdict
    assert "Split it" in verdict
    monkeypatch.chdir(repository.folder)
    result = CliRunner().invoke(migrations_commands, ["change-set", "--base", "main"])
    assert result.exit_code == 1
    assert "src/app/sql/new.sql" in result.output


@pytest.mark.standard("DL-MIG-07")
@pytest.mark.parametrize(
    "names",
    [
        [SECOND],
        [SECOND, "src/app/market/models.py"],
        [SECOND, "src/app/models/account.py", "tests/test_it.py", "docs/page.md", "README.md"],
        ["src/app/main.py", "tests/test_it.py"],
        ["migrations/env.py", "migrations/versions/README.md", "src/app/main.py"],
    ],
)
def test_one_of_them_is_fine(
    repository: Repository, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(*names)
    assert mixed_files("main", repository.folder)[0] == []
    monkeypatch.chdir(repository.folder)
    result = CliRunner().invoke(migrations_commands, ["change-set", "--base", "main"])
    assert result.exit_code == 0, result.output


@pytest.mark.standard("DL-MIG-07")
def test_a_migration_that_changes_or_goes_counts_as_schema(repository: Repository) -> None:
    repository.commit(FIRST, "src/app/main.py")
    assert mixed_files("main", repository.folder)[0] == ["src/app/main.py"]
    (repository.folder / FIRST).unlink()
    repository.commit("src/app/main.py")
    assert mixed_files("main", repository.folder)[0] == ["src/app/main.py"]


@pytest.mark.standard("DL-MIG-07")
def test_what_main_did_meanwhile_does_not_count(repository: Repository) -> None:
    repository.commit("src/app/main.py")
    repository.git("checkout", "--quiet", "main")
    repository.commit(SECOND)
    repository.git("checkout", "--quiet", "work")
    assert mixed_files("main", repository.folder)[0] == []


@pytest.mark.standard("DL-MIG-07")
def test_more_paths_can_be_permitted(repository: Repository) -> None:
    repository.commit(SECOND, "src/app/tables/account.py", "src/app/größe.py")
    code, _ = mixed_files("main", repository.folder, ["src/app/tables/*"])
    assert code == ["src/app/größe.py"]


@pytest.mark.standard("DL-MIG-07")
def test_the_first_migrations_come_with_code(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.git("checkout", "--quiet", "-b", "work")
    repository.commit(FIRST, "src/app/main.py")
    code, verdict = mixed_files("main", repository.folder)
    assert code == []
    assert "first migrations" in verdict


@pytest.mark.standard("DL-MIG-07")
@pytest.mark.parametrize("base", [ZEROS, "1" * 40, ""])
def test_a_base_that_a_first_or_forced_push_names_is_said_and_passed(
    repository: Repository, base: str
) -> None:
    repository.commit(SECOND, "src/app/main.py")
    code, verdict = mixed_files(base, repository.folder)
    assert code == []
    assert "nothing to compare with" in verdict


@pytest.mark.parametrize("base", ["origin/main", "mian", "-x", "1" * 7])
def test_a_base_that_is_not_there_is_an_error(repository: Repository, base: str) -> None:
    with pytest.raises(DataLayerError, match="fetch-depth: 0"):
        files_since(base, repository.folder)


def test_no_common_commit_is_an_error(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--orphan", "other")
    repository.commit("src/app/main.py")
    with pytest.raises(DataLayerError, match="no commit in common"):
        files_since("main", repository.folder)


def test_no_repository_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(DataLayerError, match="not a git repository"):
        files_since("main", tmp_path)


@pytest.mark.standard("DL-MIG-07")
def test_a_project_below_the_root_of_the_repository(repository: Repository) -> None:
    repository.commit(f"service/{FIRST}")
    base = repository.git("rev-parse", "HEAD")
    repository.commit(f"service/{SECOND}", "service/src/app/main.py", "src/app/main.py")
    code, _ = mixed_files(base, repository.folder / "service")
    assert code == ["src/app/main.py"]


@pytest.mark.standard("DL-MIG-07")
def test_migrations_and_code_of_a_project_that_adopted_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packages stand in its own folder, and its migrations in one of them."""
    monkeypatch.setattr(source, "LAYER", tmp_path / "app" / "data_layer")
    versions = "app/alembic/versions"
    repository = Repository(tmp_path)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = app/alembic\n")
    repository.commit("app/__init__.py", f"{versions}/one.py")
    repository.git("checkout", "--quiet", "-b", "work")
    repository.commit(f"{versions}/two.py", "app/alembic/env.py", "README.md", "app/models.py")
    assert mixed_files("main", tmp_path)[0] == []
    repository.commit("app/main.py")
    assert mixed_files("main", tmp_path)[0] == ["app/main.py"]
