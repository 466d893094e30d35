"""The questions themselves: short, all with a default but one, and safe names refused."""

import json
import keyword
import re
import sys
import tomllib
from pathlib import Path
from time import monotonic

import pexpect
import pytest
import yaml

from tests.combinations import QUESTIONS
from tests.projects import clean_environment, files, run

ASKED = {
    name: question
    for name, question in QUESTIONS.items()
    if not name.startswith("_") and question.get("when", True) is not False
}
RESERVED = yaml.safe_load(QUESTIONS["reserved_names"]["default"])
COPIER = Path(sys.executable).with_name("copier")

# Names that answers files hold: permanent.
NAMES = [
    *("project_name", "scope", "source_folder", "package_name", "description", "user_name"),
    *("user_email", "modules", "http_api", "example", "postgres_version", "python_version"),
    *("license", "ci_provider"),
]


def test_the_names_are_the_promised_ones_in_their_order() -> None:
    assert [name for name in QUESTIONS if name in NAMES] == NAMES
    assert set(ASKED) <= set(NAMES)


@pytest.mark.parametrize("name", ASKED)
def test_the_help_says_what_and_why_in_two_lines(name: str) -> None:
    lines = ASKED[name]["help"].splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("?")
    assert lines[1].endswith(".")
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize("name", ASKED)
def test_everything_has_a_default_but_the_name(name: str) -> None:
    assert ("default" in ASKED[name]) == (name != "project_name")


@pytest.mark.parametrize("message", ["_message_after_copy", "_message_after_update"])
def test_messages_say_what_to_type_in_a_few_lines(message: str) -> None:
    """Six at most, those that some answers alone bring included."""
    typed = re.findall(r"^ +(?:git|uv) .*$", QUESTIONS[message], re.MULTILINE)
    assert 3 <= len(typed) <= 6


def test_the_standard_library_is_reserved() -> None:
    public = {name for name in sys.stdlib_module_names if re.fullmatch("[a-z][a-z0-9_]*", name)}
    assert public - set(RESERVED["standard library"]) == set()


def test_every_keyword_is_reserved() -> None:
    assert {word for word in keyword.kwlist if word.islower()} <= set(RESERVED["keyword"])


def test_every_dependency_is_reserved(everything: Path, environment: Path) -> None:
    """By the names that are imported, which are not always those that are installed."""
    python = environment / "bin" / "python"
    show = "import importlib.metadata as m, json; print(json.dumps(m.packages_distributions()))"
    brings = json.loads(run(python, "-c", show, cwd=everything).stdout)
    pyproject = tomllib.loads((everything / "pyproject.toml").read_text(encoding="utf-8"))
    required = [*pyproject["project"]["dependencies"]]
    for group in pyproject["dependency-groups"].values():
        required += [entry for entry in group if isinstance(entry, str)]
    wanted = {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in required}
    modules = {
        module
        for module, distributions in brings.items()
        if wanted & {name.lower().replace("_", "-") for name in distributions}
        and re.fullmatch(r"[a-z][a-z0-9_]*", module)
    }
    assert len(modules) >= len(wanted) - 6
    assert sorted(modules - set(RESERVED["dependency"])) == []


def test_every_folder_of_the_project_is_reserved(everything: Path) -> None:
    folders = {path.partition("/")[0] for path in files(everything) if "/" in path}
    folders |= {
        path.name for path in (everything / "src" / "my_project").iterdir() if path.is_dir()
    }
    named = {name for name in folders if re.fullmatch(r"[a-z][a-z0-9_]*", name)}
    assert sorted(named - set(RESERVED["folder"])) == []


def test_the_command_renders_without_a_question(template: Path, tmp_path: Path) -> None:
    done = run(
        *(COPIER, "copy", "--defaults", "-d", "project_name=My Project"),
        *(template, tmp_path / "a folder"),
        cwd=tmp_path,
    )
    for typed in ("git init && uv sync", "uv run my-project demo", "uv run pytest"):
        assert typed in done.stdout + done.stderr
    assert (tmp_path / "a folder" / "src" / "my_project").is_dir()


def test_a_person_answers_in_a_minute(template: Path, tmp_path: Path) -> None:
    """The real dialogue: the name typed, a wrong package name corrected, Enter for all the rest."""
    began = monotonic()
    dialogue = pexpect.spawn(
        str(COPIER),
        ["copy", str(template), str(tmp_path / "project")],
        cwd=str(tmp_path),
        env={**clean_environment(TERM="xterm", COLUMNS="200"), "NO_COLOR": "1"},
        encoding="utf-8",
        dimensions=(50, 200),
        timeout=30,
    )
    dialogue.expect("What is the project called")
    dialogue.send("Market Desk\r")
    dialogue.expect("A new project, or the data layer for a project that exists")
    dialogue.send("\r")
    dialogue.expect("Which Python package will it be")
    dialogue.send("_\r")
    dialogue.expect("must not end with an underscore")
    dialogue.send("\x7f\r")
    asked = [name for name in ASKED if name != "source_folder"]
    questions = [ASKED[name]["help"].splitlines()[0] for name in asked[3:]]
    for question in questions:
        dialogue.expect_exact(question)
        dialogue.send("\r")
    dialogue.expect("Market Desk is ready")
    dialogue.expect(pexpect.EOF)
    dialogue.close()
    assert dialogue.exitstatus == 0
    assert (tmp_path / "project" / "src" / "market_desk").is_dir()
    assert monotonic() - began < 60
    assert len(asked) <= 13
