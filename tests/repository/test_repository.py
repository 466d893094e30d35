"""This repository itself: its pages, its workflow, and commands that work where they are cloned."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.combinations import QUESTIONS
from tests.markdown import dead_links
from tests.projects import ROOT, clean_environment, git, run

TARGETS = ("help", "demo", "test", "layer", "lint", "examples", "bench", "release", "clean")


def pages() -> list[Path]:
    documents = (ROOT / "docs").rglob("*.md")
    return [*ROOT.glob("*.md"), *documents, *(ROOT / folder / "README.md" for folder in FOLDERS)]


FOLDERS = ("examples", "benchmarks")


def test_no_link_is_dead() -> None:
    assert dead_links(ROOT, pages()) == []


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))


def test_every_question_is_documented() -> None:
    text = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    asked = [name for name in QUESTIONS if not name.startswith("_")]
    computed = {name for name in asked if QUESTIONS[name].get("when") is False}
    assert documented == [name for name in asked if name not in computed]


def test_the_workflows_are_sound() -> None:
    tools = Path(sys.executable).parent
    workflow = ".github/workflows/ci.yml"
    for schema, path in (("github-workflows", workflow), ("dependabot", ".github/dependabot.yml")):
        run(tools / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", path, cwd=ROOT)
    run(tools / "zizmor", "--offline", "--no-progress", "--quiet", ".github", cwd=ROOT)
    tiers = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    text = (ROOT / workflow).read_text(encoding="utf-8")
    assert {tier for tier in tiers if tier not in text} == set()


def test_no_package_index_is_named() -> None:
    """A lock file would name the index of whoever made it; see .gitignore."""
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    assert "uv.lock" not in listed
    index = re.compile("files[.]pythonhosted|pypi[.]org/simple|index-url")
    named = [
        path
        for path in listed
        if (ROOT / path).is_file()
        and not path.startswith("tests/")
        and index.search((ROOT / path).read_text(encoding="utf-8", errors="replace"))
    ]
    assert named == []


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The commands of this repository in a folder with a space, without environments or caches."""
    destination = tmp_path / "a clone's folder"
    destination.mkdir()
    for name in ("Makefile", "pyproject.toml", "copier.yml"):
        shutil.copy2(ROOT / name, destination)
    for name in (".ci", "modules", "template", "examples", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, destination / name)
    return destination


def test_make_says_what_can_be_typed(clone: Path) -> None:
    done = run("make", cwd=clone)
    assert [line.split()[1] for line in done.stdout.splitlines()] == list(TARGETS)


@pytest.mark.xdist_group("bootstrap")
def test_uv_is_brought_where_there_is_none(clone: Path, tmp_path: Path) -> None:
    """Python and git alone: the commands make a private uv, once, in a folder with a space."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "awk", "dirname", "rm", "id", "env", "git"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    (tools / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    environment = clean_environment(PATH=tools)
    environment.pop("UV", None)

    first = run("make", "examples", cwd=clone, env=environment)
    assert "Bringing a private uv" in first.stderr
    assert (clone / ".uv" / "bin" / "uv").exists()
    assert "examples/minimal: " in first.stdout

    second = run("make", "examples", cwd=clone, env=environment)
    assert "Bringing" not in second.stderr


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("", "Python 3.11 or newer is needed"),
        ("case $2 in *version_info*) exit 1;; esac", "Python 3.11 or newer is needed"),
        (
            "case $2 in *ensurepip* | *'import pip'*) exit 1;; esac",
            "type: sudo apt-get install python3-venv",
        ),
    ],
    ids=["no python", "an old python", "no venv"],
)
def test_what_is_lacking_is_one_sentence(
    clone: Path, tmp_path: Path, python: str, sentence: str
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    stub(tools / "id", "echo 1000")
    if python:
        stub(tools / "python3", python)
    done = subprocess.run(
        ["sh", clone / ".ci" / "uv", "--version"],
        env={"PATH": str(tools), "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def stub(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_the_demo_refuses_to_overwrite(clone: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    done = run(
        *(sys.executable, "-m", "examples.demo"),
        cwd=clone,
        env=clean_environment(KEEP=kept),
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"{kept} exists already; give KEEP a folder that doesn't.\n"
