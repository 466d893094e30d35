"""`.env` has one meaning: `init`, the settings and docker compose read it alike, or it is refused.

`env_files.json` holds the files, one byte a letter, and what compose reads in each; that it does so
is asked of compose itself by `tests/rendering/test_env_files.py`, where there is a binary.
"""

import asyncio
import json
import subprocess
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from my_project import data_layer
from my_project.data_layer import checklist, cli
from my_project.data_layer.database import DatabaseSettings
from my_project.data_layer.database.checks import database_checks
from my_project.data_layer.settings import InvalidSettings, Settings, load

FILES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "env_files.json").read_text(encoding="utf-8")
)
EXAMPLE = "DATABASE_URL=postgresql://role@127.0.0.1:5432/name\nDATABASE_PASSWORD=\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "alembic.ini").touch()
    (tmp_path / ".gitignore").write_text(".env\n")
    (tmp_path / ".env.example").write_text(EXAMPLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "postgresql://role@127.0.0.1:5432/name")
    monkeypatch.delenv("DATABASE_PASSWORD", raising=False)
    return tmp_path


def password() -> str:
    found = load(DatabaseSettings).password
    return found.get_secret_value() if found else ""


@pytest.mark.parametrize("file", [one for one in FILES if one["read"]], ids=lambda one: one["text"])
def test_what_is_read_is_what_compose_reads(project: Path, file: dict[str, Any]) -> None:
    (project / ".env").write_bytes(file["text"].encode("latin-1"))

    assert password() == file["compose"]
    result = CliRunner().invoke(cli.create_cli(), ["init"])

    assert result.exit_code == 0, result.output
    assert ("Generated: DATABASE_PASSWORD" in result.output) == (file["compose"] == "")
    if file["compose"]:
        assert password() == file["compose"]
    else:
        assert len(password()) == 43


@pytest.mark.parametrize(
    "file", [one for one in FILES if not one["read"]], ids=lambda one: one["text"]
)
def test_what_compose_may_read_in_another_way_is_refused(
    project: Path, file: dict[str, Any]
) -> None:
    content = file["text"].encode("latin-1")
    (project / ".env").write_bytes(content)

    with pytest.raises(InvalidSettings) as refused:
        load(DatabaseSettings)
    result = CliRunner().invoke(cli.create_cli(), ["init"])
    [secrets] = [check for check in database_checks() if check.id == "DL-OPS-01"]
    report = asyncio.run(checklist.run([secrets]))

    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert result.exit_code == 2
    assert (project / ".env").read_bytes() == content
    assert sentence.partition(".env")[2] in " ".join(result.output.split())
    assert not report.ok
    assert sentence.partition(".env")[2] in report.results[0].finding.evidence


def test_the_sentence_names_the_line(project: Path) -> None:
    (project / ".env").write_text("A=1\n\n# note\n\nDATABASE_PASSWORD=pa$word\n")

    with pytest.raises(InvalidSettings, match=r"line 5 of \.env alike; write it as NAME='value'"):
        load(DatabaseSettings)


def test_a_file_that_can_not_be_read_is_a_sentence(project: Path) -> None:
    (project / ".env").mkdir()

    result = CliRunner().invoke(cli.create_cli(), ["init"])

    assert result.exit_code == 2
    assert ".env can't be read: Is a directory." in " ".join(result.output.split())


def classes() -> list[type[Settings]]:
    """Every class of settings of the layer, whichever modules are there."""
    for found in walk_packages(data_layer.__path__, f"{data_layer.__name__}."):
        import_module(found.name)
    waiting, found_classes = [Settings], []
    while waiting:
        waiting += (known := waiting.pop().__subclasses__())
        found_classes += [one for one in known if one.__module__.startswith(data_layer.__name__)]
    return found_classes


def test_an_empty_variable_is_one_that_is_not_set(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DatabaseSettings in classes()
    for settings in classes():
        prefix = settings.model_config.get("env_prefix", "")
        names = {name: f"{prefix}{name.upper()}" for name in settings.model_fields}
        for variable in names.values():
            monkeypatch.delenv(variable, raising=False)
        required = {"RedisSettings": {"url": "redis://host"}}.get(settings.__name__, {})
        if settings is DatabaseSettings:
            required = {"url": "postgresql://role@host/name"}
        wanted = settings.model_validate(required)
        for variable in names.values():
            monkeypatch.setenv(variable, "")
        assert settings.model_validate(required) == wanted, settings.__name__


def test_an_empty_variable_hides_that_of_the_file_as_it_does_in_compose(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".env").write_text("DATABASE_PASSWORD=chosen\n")
    monkeypatch.setenv("DATABASE_PASSWORD", "")

    assert load(DatabaseSettings).password is None

    monkeypatch.setenv("DATABASE_PASSWORD", "mine")
    assert load(DatabaseSettings).password == SecretStr("mine")


def test_an_empty_url_is_one_that_is_missing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "")

    with pytest.raises(InvalidSettings, match="DATABASE_URL is not set"):
        load(DatabaseSettings)
