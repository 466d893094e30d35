"""A wrong answer gives one sentence that says what is wrong, and leaves nothing behind."""

import sys
from pathlib import Path

import pytest

from tests.combinations import choices
from tests.projects import clean_environment, render, run

IDENTIFIER = (
    " is not a lowercase identifier; use letters a-z, digits and underscores, and begin with a"
    " letter, for example market_desk."
)
COMMAND = (
    " must not end with an underscore or hold two in a row, since the name of the command is made"
    " from it."
)
CHOOSE = "; choose another package name, for example "
ADDRESS = " is not an e-mail address; write one like ada@example.org, or leave it empty."

WRONG = [
    (
        {"project_name": ""},
        "The project needs a name of at least one character, for example Market Desk.",
    ),
    (
        {"project_name": "   "},
        "The project needs a name of at least one character, for example Market Desk.",
    ),
    (
        {"project_name": "Market\nDesk"},
        "The project name must be one line without control characters.",
    ),
    (
        {"project_name": "Desk \x1b[31m"},
        "The project name must be one line without control characters.",
    ),
    ({"project_name": "x" * 81}, "The project name has 81 characters; use at most 80."),
    (
        {"source_folder": "backend"},
        "A new project keeps its packages in src; name a folder only for the layer of a project"
        " that exists.",
    ),
    ({"package_name": ""}, '""' + IDENTIFIER),
    ({"package_name": "Market"}, '"Market"' + IDENTIFIER),
    ({"package_name": "market-desk"}, '"market-desk"' + IDENTIFIER),
    ({"package_name": "market desk"}, '"market desk"' + IDENTIFIER),
    ({"package_name": "märkte"}, '"märkte"' + IDENTIFIER),
    ({"package_name": "3markets"}, '"3markets"' + IDENTIFIER),
    ({"package_name": "_market"}, '"_market"' + IDENTIFIER),
    ({"package_name": "market\n"}, r'"market\n"' + IDENTIFIER),
    ({"package_name": "../market"}, '"../market"' + IDENTIFIER),
    (
        {"package_name": "m" * 41},
        "The package name has 41 characters; use at most 40, since database and role names are"
        " made from it.",
    ),
    ({"package_name": "market_"}, "The package name market_" + COMMAND),
    ({"package_name": "market__desk"}, "The package name market__desk" + COMMAND),
    ({"package_name": "class"}, f"class is a keyword of Python{CHOOSE}class_project."),
    (
        {"package_name": "json"},
        f"json is a module of Python's standard library{CHOOSE}json_project.",
    ),
    (
        {"package_name": "sqlalchemy"},
        f"sqlalchemy is the name of a library that the project uses or may use{CHOOSE}"
        "sqlalchemy_project.",
    ),
    (
        {"package_name": "tests"},
        f"tests is the name of a folder or module of the project itself{CHOOSE}tests_project.",
    ),
    ({"description": ""}, "The description is empty; say in one line what the project does."),
    (
        {"description": "One line.\nAnother."},
        "The description must be one line without control characters.",
    ),
    ({"description": "x" * 201}, "The description has 201 characters; use at most 200."),
    ({"user_name": " "}, "The author's name is empty; give the name of a person or a team."),
    (
        {"user_name": "Ada\tLovelace"},
        "The author's name must be one line without control characters.",
    ),
    ({"user_email": "ada"}, '"ada"' + ADDRESS),
    ({"user_email": "ada@localhost"}, '"ada@localhost"' + ADDRESS),
    ({"user_email": "Ada <ada@example.org>"}, '"Ada <ada@example.org>"' + ADDRESS),
    ({"user_email": "ada@example.org\n"}, r'"ada@example.org\n"' + ADDRESS),
    ({"user_email": "ada@exa mple.org"}, '"ada@exa mple.org"' + ADDRESS),
    ({"postgres_version": "15"}, "'15' is not in "),
    ({"python_version": "3.10"}, "'3.10' is not in "),
    ({"license": "GPL-3.0"}, "'GPL-3.0' is not in "),
    ({"ci_provider": "jenkins"}, "'jenkins' is not in "),
    ({"modules": ["kafka"]}, "kafka"),
]


@pytest.mark.parametrize(
    ("answer", "sentence"), WRONG, ids=[repr(wrong)[1:50] for wrong, _ in WRONG]
)
def test_gives_one_sentence_and_leaves_nothing(
    template: Path, tmp_path: Path, answer: dict[str, object], sentence: str
) -> None:
    destination = tmp_path / "project"
    with pytest.raises(ValueError, match=r".") as refusal:
        render(template, destination, **answer)
    message = str(refusal.value)
    assert sentence in message
    assert "\n" not in message
    assert not destination.exists()


def test_the_offered_choices_are_the_promised_ones() -> None:
    """Answers files of rendered projects hold these values: renaming one loses work."""
    assert choices("postgres_version") == ["18", "17", "16"]
    assert choices("python_version") == ["3.11", "3.12", "3.13", "3.14"]
    assert choices("license") == ["MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"]
    assert choices("ci_provider") == ["github", "gitlab", "none"]
    promised = ["timescaledb", "duckdb", "files", "redis"]
    assert set(choices("modules")) <= set(promised)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("package_name=json", "json is a module of Python's standard library"),
        ("user_email=ada", '"ada" is not an e-mail address'),
        ("license=GPL-3.0", "'GPL-3.0' is not in"),
    ],
)
def test_the_command_ends_with_the_sentence(
    template: Path, tmp_path: Path, answer: str, sentence: str
) -> None:
    """For an answer given by `-d`, Copier itself prints a traceback above the sentence."""
    destination = tmp_path / "a project"
    done = run(
        *(Path(sys.executable).with_name("copier"), "copy", "--defaults"),
        *("-d", "project_name=My Project", "-d", answer, template, destination),
        cwd=tmp_path,
        env=clean_environment(COLUMNS="400"),
        check=False,
    )
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]
    assert not destination.exists()
