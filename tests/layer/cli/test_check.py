"""`check` and what all commands share: exit codes, sentences, help."""

import json
import time
from importlib import metadata
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from my_project.data_layer import checklist, cli, wiring
from my_project.data_layer.checklist import Check, Finding
from my_project.data_layer.errors import DataLayerError
from my_project.data_layer.project import PROGRAM


async def good() -> Finding:
    return checklist.passed("All is well.").measured({'rows of "größe"\\': 2.5})


async def bad() -> Finding:
    return checklist.failed("It is broken.", "Do that.")


GOOD = Check("DL-AA-01", "The first demand", good)
BAD = Check("DL-BB-01", "The second demand", bad)
OPTIONAL = Check("DL-BB-02", "The third demand", bad, required=False)


@pytest.fixture(autouse=True)
def _no_checks_but_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "checks", lambda *_, **__: [])


def run(*arguments: str, checks: tuple[Check, ...] = (GOOD, BAD, OPTIONAL)) -> Result:
    return CliRunner().invoke(cli.create_cli(checks=checks), list(arguments))


@pytest.mark.parametrize(
    ("checks", "code"), [((GOOD,), 0), ((GOOD, OPTIONAL), 0), ((GOOD, BAD), 1), ((), 0)]
)
def test_a_failed_required_check_is_the_exit_code(checks: tuple[Check, ...], code: int) -> None:
    assert run("check", checks=checks).exit_code == code


OF_REPOSITORY = Check("DL-CC-01", "A demand on files", bad, of_repository=True)


def test_an_image_is_asked_about_the_deployment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image has no pyproject.toml; who names such a check gets it all the same."""
    (tmp_path / "alembic.ini").touch()
    monkeypatch.chdir(tmp_path)
    told = run("check", checks=(GOOD, OF_REPOSITORY))
    assert told.exit_code == 0
    assert "DL-CC-01" not in told.stdout
    assert "the deployment alone" in told.stderr
    assert run("check", "--only", "DL-CC", checks=(GOOD, OF_REPOSITORY)).exit_code == 1
    (tmp_path / "pyproject.toml").touch()
    assert run("check", checks=(GOOD, OF_REPOSITORY)).exit_code == 1


def test_watching_asks_again_until_it_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []

    def pause(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", pause)
    result = run("check", "--watch")
    assert result.exit_code == 0
    assert result.output.count("The first demand") == 3


def test_the_table_shows_evidence_and_remedy() -> None:
    result = run("check")

    for words in ("DL-AA-01", "All is well.", "It is broken.", "Do that.", "1 passed"):
        assert words in result.output


def test_monitoring_reads_the_verdicts_from_a_file(tmp_path: Path) -> None:
    """As well as what is printed, and whatever the exit code."""
    file = tmp_path / "not made yet" / "checks.prom"
    begun = time.time()
    result = run("check", "--prometheus", str(file))
    assert result.exit_code == 1
    assert "It is broken." in result.output
    samples = [
        sample
        for family in text_string_to_metric_families(file.read_text(encoding="utf-8"))
        for sample in family.samples
    ]
    *verdicts, figure, asked = samples
    assert (figure.name, figure.labels, figure.value) == (
        "data_layer_check_figure",
        {"check": "DL-AA-01", "name": 'rows of "größe"\\'},
        2.5,
    )
    assert [(one.labels["check"], one.labels["required"], one.value) for one in verdicts] == [
        ("DL-AA-01", "true", 0),
        ("DL-BB-01", "true", 2),
        ("DL-BB-02", "false", 2),
    ]
    assert {one.name for one in verdicts} == {"data_layer_check_verdict"}
    assert asked.name == "data_layer_check_timestamp_seconds"
    assert int(begun) <= asked.value <= time.time() + 1


def test_json_is_all_that_is_printed() -> None:
    result = run("check", "--json")

    assert result.exit_code == 1
    assert [one["id"] for one in json.loads(result.output)["checks"]] == [
        "DL-AA-01",
        "DL-BB-01",
        "DL-BB-02",
    ]


def test_markdown_is_a_table() -> None:
    result = run("check", "--markdown")

    assert result.exit_code == 1
    assert "| ✅ | DL-AA-01 | The first demand | All is well. |  |" in result.output


def test_only_asks_what_was_asked_for() -> None:
    one = run("check", "--json", "--only", "DL-AA")
    two = run("check", "--json", "--only", "dl-aa", "--only", "DL-BB-02")

    assert one.exit_code == 0
    assert [check["id"] for check in json.loads(one.output)["checks"]] == ["DL-AA-01"]
    assert len(json.loads(two.output)["checks"]) == 2


def test_the_list_asks_nobody() -> None:
    result = run("check", "--list")

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "DL-AA-01  The first demand",
        "DL-BB-01  The second demand",
        "DL-BB-02  The third demand (not required)",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "DL-ZZ"], "No check's id begins with DL-ZZ"),
        (["--json", "--markdown"], "exclude each other"),
    ],
)
def test_a_wrong_option_is_a_sentence(arguments: list[str], sentence: str) -> None:
    result = run("check", *arguments)

    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


def test_an_error_for_people_has_no_traceback() -> None:
    application = cli.create_cli()

    @application.command()
    def explode() -> None:
        raise DataLayerError("The [red]sky[/red] has fallen; look up.")

    result = CliRunner().invoke(application, ["explode"])

    assert result.exit_code == 2
    assert result.stderr == "Error: The [red]sky[/red] has fallen; look up.\n"
    assert result.stdout == ""


def test_the_version_is_the_distributions() -> None:
    assert run("--version").output == f"{PROGRAM} {metadata.version(PROGRAM)}\n"


def test_help_has_examples_and_names_every_command() -> None:
    result = run("--help")

    assert result.exit_code == 0
    for words in ("Examples", "init", "check", "demo", "embedded", *wiring.command_groups()):
        assert words in result.output
