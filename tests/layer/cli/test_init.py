"""`init`: generated secrets in a file that git ignores, and nothing overwritten."""

import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from my_project.data_layer import cli, dotenv
from my_project.data_layer.database import DatabaseSettings
from my_project.data_layer.errors import DataLayerError
from my_project.data_layer.settings import load

EXAMPLE = """\
# The settings.
DATABASE_URL=postgresql://role@127.0.0.1:5432/name
DATABASE_PASSWORD=
export OTHER_SECRET=""   # generated
# DATABASE_PORT=5432
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tmp_path / "a project"
    project.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    (project / "alembic.ini").touch()
    (project / ".gitignore").write_text(".env\n")
    (project / ".env.example").write_text(EXAMPLE)
    monkeypatch.chdir(project)
    return project


def init() -> Result:
    return CliRunner().invoke(cli.create_cli(), ["init"])


def values(project: Path) -> dict[str, str]:
    lines = (project / ".env").read_text().splitlines()
    return dict(re.findall(r"^(?:export )?(\w+)=(.*)$", "\n".join(lines), re.MULTILINE))


@pytest.mark.standard("DL-PG-05")
@pytest.mark.standard("DL-OPS-01")
def test_it_writes_generated_secrets_that_only_the_owner_can_read(project: Path) -> None:
    result = init()

    assert result.exit_code == 0, result.output
    written = values(project)
    assert written["DATABASE_URL"] == "postgresql://role@127.0.0.1:5432/name"
    secrets = {written["DATABASE_PASSWORD"], written["OTHER_SECRET"]}
    assert len(secrets) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in secrets)
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert not any(secret in result.output for secret in secrets)
    assert "DATABASE_PASSWORD" in result.output
    assert "uv run alembic upgrade head" in result.output
    assert {path.name for path in project.glob(".env*")} == {".env", ".env.example"}


def test_each_checkout_has_servers_of_its_own(project: Path) -> None:
    """A second one would otherwise take over the containers of the first."""
    init()
    first = values(project)["COMPOSE_PROJECT_NAME"]
    (project / ".env").unlink()
    init()
    assert re.fullmatch("my-project-[0-9a-f]{4}", first)
    assert values(project)["COMPOSE_PROJECT_NAME"] != first


def test_a_checkout_that_has_servers_keeps_them(project: Path) -> None:
    """Their volumes are found by the name that they were made with."""
    (project / ".env").write_text("DATABASE_URL=postgresql://role@127.0.0.1:5432/name\n")
    init()
    assert "COMPOSE_PROJECT_NAME" not in values(project)


def test_the_servers_in_the_containers_can_read_their_files(project: Path) -> None:
    """Whatever the umask of who copied or cloned; what is a program stays one."""
    folder = project / "ops" / "postgres" / "initdb"
    folder.mkdir(parents=True)
    (folder / "role.sql").touch(0o600)
    (folder / "start.sh").touch(0o700)
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o700)
    init()
    modes = [path.stat().st_mode & 0o777 for path in (folder.parents[1], *sorted(folder.iterdir()))]
    assert modes == [0o755, 0o644, 0o744]


def test_a_second_time_it_changes_nothing(project: Path) -> None:
    init()
    before = (project / ".env").read_bytes()

    result = init()

    assert result.exit_code == 0
    assert "nothing was changed" in result.output
    assert (project / ".env").read_bytes() == before


def test_it_works_from_a_folder_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")

    assert init().exit_code == 0
    assert (project / ".env").exists()


def test_what_is_set_stays_and_what_is_missing_comes(project: Path) -> None:
    mine = "DATABASE_URL=postgresql://me@db/mine  # mine\nMY_OWN=1\nDATABASE_PASSWORD=chosen\n"
    (project / ".env").write_text(mine)

    result = init()

    text = (project / ".env").read_text()
    assert text.startswith(mine)
    assert len(values(project)["OTHER_SECRET"]) == 43
    assert "OTHER_SECRET" in result.output
    assert "unchanged" in result.output
    assert (project / ".env").stat().st_mode & 0o777 == 0o600


def test_an_empty_password_is_filled_in(project: Path) -> None:
    (project / ".env").write_text(EXAMPLE)

    assert init().exit_code == 0
    assert len(values(project)["DATABASE_PASSWORD"]) == 43


@pytest.mark.standard("DL-OPS-01")
def test_it_refuses_while_git_does_not_ignore_the_file(project: Path) -> None:
    (project / ".gitignore").write_text("")

    result = init()

    assert result.exit_code == 2
    assert "git does not ignore .env" in result.output
    assert not (project / ".env").exists()


@pytest.mark.standard("DL-OPS-01")
def test_it_refuses_while_git_tracks_the_file(project: Path) -> None:
    (project / ".env").write_text("A=1\n")
    subprocess.run(["git", "add", "--force", ".env"], cwd=project, check=True)

    result = init()

    assert result.exit_code == 2
    assert "git tracks .env" in result.output
    assert (project / ".env").read_text() == "A=1\n"


def test_without_an_example_it_says_so(project: Path) -> None:
    (project / ".env.example").unlink()

    result = init()

    assert result.exit_code == 2
    assert ".env.example is missing" in " ".join(result.output.split())


def test_outside_of_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = init()

    assert result.exit_code == 2
    assert "No alembic.ini" in result.output


def test_a_write_that_fails_leaves_the_old_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".env").write_text("DATABASE_PASSWORD=chosen\n")

    def full_disk(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)

    with pytest.raises(DataLayerError, match=r"\.env can't be written: No space left"):
        dotenv.write(project)

    assert (project / ".env").read_text() == "DATABASE_PASSWORD=chosen\n"
    assert {path.name for path in project.glob(".env*")} == {".env", ".env.example"}


@pytest.mark.parametrize(
    "text",
    [
        "DATABASE_URL='postgresql://me@db/mine'\nDATABASE_PASSWORD=\"chosen\"  # mine",
        "\n  export DATABASE_URL = postgresql://me@db/mine\nDATABASE_PASSWORD=chosen\r\n",
        'NOTE="first\nDATABASE_URL=second"\nDATABASE_URL=postgresql://me@db/mine\n'
        "DATABASE_PASSWORD=chosen\n",
    ],
)
def test_it_reads_the_file_as_the_settings_do(
    project: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "DATABASE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    (project / ".env").write_text(text)

    result = init()

    assert result.exit_code == 0, result.output
    settings = load(DatabaseSettings)
    assert settings.url.get_secret_value() == "postgresql://me@db/mine"
    assert settings.password is not None
    assert settings.password.get_secret_value() == "chosen"
    assert "From .env.example" not in result.output
