"""Odd but fair answers give a project that works and says what the person wrote."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests import projects
from tests.markdown import PARSER
from tests.projects import files, render, run

ODD = {
    "accents": {"project_name": "Börsen-Überblick für Zoë", "user_name": "Zoë Müller-Łukasz"},
    "apostrophes": {"project_name": "Ada's Desk", "user_name": "Conan O'Brien"},
    "quotes": {"project_name": 'The "Best" Desk', "user_name": 'Dwayne "The Rock" Johnson'},
    "quotes at the end": {"description": 'It says "hello"'},
    "three quotes": {"description": 'Docstrings end with """ and so on'},
    "backslashes": {"project_name": "C:\\new\\table", "description": "Ends with a backslash \\"},
    "emoji": {"project_name": "Rocket 🚀 Desk", "description": "Numbers 📈 go up 👩‍🚀."},
    "jinja": {"description": "Prices in {{ curly }} braces, {% even %} this {# too #}."},
    "yaml": {"project_name": "yes: no # maybe", "description": "- a: [b] & *c # d | > %"},
    "yaml's booleans": {"project_name": "on", "user_name": "null", "description": "true"},
    "numbers": {"project_name": "2026", "description": "1.0"},
    "leading digits": {"project_name": "3D Markets 2000"},
    "no letter at all": {"project_name": "株式市場"},
    "a keyword": {"project_name": "Class"},
    "a library": {"project_name": "Pandas"},
    "a folder": {"project_name": "Tests"},
    "blanks around": {"project_name": "  Market Desk  "},
    "80 characters": {"project_name": "Desk " * 16},
    "a package of 40": {"package_name": "a" + "_b3" * 13},
    "a package of 1": {"package_name": "m"},
    "markup": {"project_name": "<b>Desk</b> & [Sons](x)", "description": "`code` *stars* <tags>"},
    "shell": {"project_name": "$(touch pwned) `id` ; $HOME", "description": "${DATABASE_URL} %s"},
    "200 characters": {"description": "A long story. " * 14},
    "an address": {"user_email": "o'brien+desk@mail.example.co.uk"},
}


def collapse(text: str) -> str:
    """Blanks as Markdown shows them."""
    return " ".join(text.split())


def first_lines(page: Path) -> list[str]:
    """The title and the first paragraph of a page, as a reader sees them."""
    inline = [token for token in PARSER.parse(page.read_text("utf-8")) if token.type == "inline"]
    return [
        collapse("".join(part.content for part in token.children or ())) for token in inline[:2]
    ]


@pytest.mark.parametrize("answers", ODD.values(), ids=ODD)
def test_render_a_valid_project(
    template: Path, tmp_path: Path, environment: Path, answers: dict[str, str]
) -> None:
    given = {"project_name": "My Project", "ci_provider": "gitlab"} | answers
    project = render(template, tmp_path / "a folder's näme", **given)

    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recorded = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    package = recorded["package_name"]
    for name, value in given.items():
        assert recorded[name] == value
    assert pyproject["name"] == package.replace("_", "-")
    assert pyproject["description"] == recorded["description"]
    assert pyproject["authors"][0]["name"] == recorded["user_name"]
    assert pyproject["authors"][0].get("email", "") == recorded["user_email"]
    assert len(package) <= 40

    for path in project.rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"))
    for path in [*project.rglob("*.yaml"), *project.rglob("*.yml")]:
        list(yaml.compose_all(path.read_text(encoding="utf-8")))

    ruff = environment / "bin" / "ruff"
    run(ruff, "check", "--no-cache", ".", cwd=project)
    run(ruff, "format", "--no-cache", "--check", ".", cwd=project)
    shown = first_lines(project / "README.md")
    assert shown == [collapse(recorded["project_name"]), collapse(recorded["description"])]


NAMES = {
    "Market Desk": "market_desk",
    "Börsen-Überblick": "boersen_ueberblick",
    "Ada's Desk": "adas_desk",
    "3D Markets 2000": "d_markets_2000",
    "株式市場": "my_project",
    "2026": "my_project",
    "Class": "class_project",
    "Pandas": "pandas_project",
    "JSON": "json_project",
    "Tests": "tests_project",
    "a" * 80: "a" * 40,
    "a" * 39 + " b": "a" * 39,
    "Market": "market_project",
    "--- -- desk ---": "desk",
}


@pytest.mark.parametrize(("project_name", "package_name"), NAMES.items())
def test_the_package_is_named_after_the_project(
    template: Path, tmp_path: Path, project_name: str, package_name: str
) -> None:
    render(template, tmp_path / "project", project_name=project_name)
    assert (tmp_path / "project" / "src" / package_name).is_dir()


@pytest.mark.parametrize("package_name", ["m", "a" + "_b3" * 13, "zzzz_zzzz", "aaa"])
def test_code_is_formatted_whatever_the_length_of_the_package_name(
    template: Path, tmp_path: Path, environment: Path, package_name: str
) -> None:
    project = render(template, tmp_path / "project", package_name=package_name)
    ruff = environment / "bin" / "ruff"
    run(ruff, "check", "--no-cache", ".", cwd=project)
    run(ruff, "format", "--no-cache", "--check", ".", cwd=project)


def test_a_command_in_an_answer_is_never_run(template: Path, tmp_path: Path) -> None:
    render(
        template, tmp_path / "project", project_name="$(touch pwned)", description="`touch pwned`"
    )
    assert list(tmp_path.rglob("pwned")) == []


def test_no_secret_is_rendered(everything: Path) -> None:
    """Secrets are made by `init` in a git-ignored file; a rendered one would be in every copy."""
    assert not (everything / ".env").exists()
    assert ".env" in (everything / ".gitignore").read_text(encoding="utf-8").splitlines()
    for path, content in files(everything).items():
        if path.startswith((".env", "compose", "ops/", "alembic", "pyproject")):
            for line in content.decode("utf-8").splitlines():
                found = re.match(r"\s*-?\s*\w*(PASSWORD|SECRET|TOKEN)\w*\s*[:=]\s*(.*)", line)
                assert (
                    not found
                    or found[2].strip("\"' ").startswith(("$", "#", "/"))
                    or not found[2].strip("\"' ")
                ), f"{path}: {line}"


def test_rendering_twice_gives_the_same(template: Path, tmp_path: Path) -> None:
    one = render(template, tmp_path / "one")
    other = render(template, tmp_path / "other")
    assert files(one) == files(other)
    assert projects.PACKAGE in {path.name for path in (one / "src").iterdir()}
