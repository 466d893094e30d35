"""Every combination: exactly the files it should have, and nothing odd in them."""

import json
import re
import stat
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from tests import projects
from tests.combinations import EVERYTHING, MINIMAL, MODULES, QUESTIONS, Combination, choices
from tests.rendering.conftest import COMBINATIONS, files
from tests.rendering.expected import CONDITIONS, faults, owner

# `${{ }}` is GitHub's, `${#name[@]}` is the shell's, and f-strings double braces without a blank.
LEFTOVER = re.compile(r"(?<!\$)\{\{[-\s]|(?<!\$)\{%|%\}|(?<![$\"'])\{#")
WINDOWS_FORBIDS = re.compile(r'[<>:"\\|?*\x00-\x1f]|[ .]$')
WINDOWS_DEVICES = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
BINARY = (".parquet", ".png", ".ico", ".gz", ".zst")


def texts(project: Path) -> dict[str, str]:
    return {
        path: content.decode("utf-8")
        for path, content in files(project).items()
        if not path.endswith(BINARY)
    }


def test_every_answer_is_rendered_and_every_two_meet() -> None:
    wanted = {
        (name, value)
        for name in ("postgres_version", "python_version", "license", "ci_provider")
        for value in choices(name)
    }
    rendered = {
        (name, getattr(combination, name)) for combination in COMBINATIONS for name, _ in wanted
    }
    assert rendered == wanted
    assert {(one.python_version, one.license) for one in COMBINATIONS} == set(
        product(choices("python_version"), choices("license"))
    )
    cores = {(one.modules, one.http_api, one.example) for one in COMBINATIONS}
    assert len(cores) == 2 ** (len(MODULES) + 2)


def test_has_the_expected_folders_and_no_other(combination: Combination, project: Path) -> None:
    assert faults(combination, files(project)) == []


def test_the_program_renders_what_these_tests_read(template: Path, tmp_path: Path) -> None:
    """They leave out what Copier works out again and again."""
    answers = {"project_name": projects.PROJECT_NAME, **EVERYTHING.answers()}
    given = tmp_path / "answers.yml"
    given.write_text(json.dumps(answers), encoding="utf-8")
    copier = Path(sys.executable).with_name("copier")
    options = ("--defaults", "--quiet", "--data-file", given)
    projects.run(copier, "copy", *options, template, tmp_path / "project", cwd=tmp_path)
    # By the template of this worker: the answers file names where it lies.
    read = projects.render(template, tmp_path / "read", **answers)
    assert projects.files(tmp_path / "project") == projects.files(read)


def test_every_expected_path_is_rendered_by_some_combination(
    template: Path, tmp_path: Path
) -> None:
    unclaimed = set(CONDITIONS)
    for provider in choices("ci_provider"):
        everything = replace(EVERYTHING, ci_provider=provider)
        project = projects.render(template, tmp_path / provider, **everything.answers())
        unclaimed -= {owner(path) for path in files(project)}
    assert sorted(unclaimed) == []


def test_an_unexpected_path_is_found() -> None:
    """The oracle itself: a new top folder, a file of a module that is off, a folder left out."""
    paths = [f"{line}file" if line.endswith("/") else line for line in CONDITIONS]
    foreign = {fault.partition(" must not be there")[0] for fault in faults(MINIMAL, paths)}
    minimal = [path for path in paths if path not in foreign]
    assert faults(MINIMAL, minimal) == []
    for path in ("new/file.py", "src/other/file.py", "src/my_project/data_layer/http/health.py"):
        assert len(faults(MINIMAL, [*minimal, path])) == 1
    without = [path for path in minimal if not path.startswith("migrations/")]
    assert len(faults(MINIMAL, without)) == 1


def test_has_no_empty_folder(project: Path) -> None:
    empty = [
        folder.relative_to(project).as_posix()
        for folder in project.rglob("*")
        if folder.is_dir() and not any(folder.iterdir())
    ]
    assert empty == []


def test_has_no_leftover_jinja(project: Path) -> None:
    found = [
        f"{path}: {line}"
        for path, text in texts(project).items()
        for line in text.splitlines()
        if LEFTOVER.search(line) or path.endswith(".jinja")
    ]
    assert found == []


def test_names_no_place_outside_itself(template: Path, project: Path) -> None:
    """No path of the machine that rendered it, and no name of a package index."""
    host = re.compile(
        r"files\.pythonhosted|pypi\.org/simple|(?<![\w.])/(work|root|home/\w+|Users)/", re.ASCII
    )
    found = [
        f"{path}: {line}"
        for path, text in texts(project).items()
        for line in text.splitlines()
        if (host.search(line) or str(template) in line or str(project) in line)
        and not (path == ".copier-answers.yml" and line.startswith("_src_path:"))
    ]
    assert found == []


def test_text_is_tidy(project: Path) -> None:
    """LF only, one newline at the end, no blanks at the end of a line but Markdown's."""
    untidy = []
    for path, text in texts(project).items():
        if "\r" in text:
            untidy.append(f"{path}: CR")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            untidy.append(f"{path}: must end with one newline")
        if not path.endswith(".md") and re.search(r"[ \t]+$", text, re.MULTILINE):
            untidy.append(f"{path}: blanks at the end of a line")
        if re.search(r"\n\n\n\n", text):
            untidy.append(f"{path}: three empty lines in a row")
    assert untidy == []


def test_only_scripts_can_be_executed(project: Path) -> None:
    for path, content in files(project).items():
        executable = bool((project / path).stat().st_mode & stat.S_IXUSR)
        assert executable == content.startswith(b"#!"), path


def test_paths_suit_windows_and_macos(project: Path) -> None:
    paths = list(files(project))
    assert len({path.lower() for path in paths}) == len(paths), "two paths differ only in case"
    for path in paths:
        assert len(path) <= 150, f"{path} is too long for a checkout below a deep folder"
        for part in path.split("/"):
            assert not WINDOWS_FORBIDS.search(part), path
            assert not WINDOWS_DEVICES.match(part), path


def test_the_answers_file_records_every_answer_and_no_more(
    combination: Combination, project: Path
) -> None:
    text = (project / ".copier-answers.yml").read_text(encoding="utf-8")
    recorded = {line.partition(":")[0] for line in text.splitlines() if re.match(r"\w", line)}
    asked = {
        name
        for name, question in QUESTIONS.items()
        if not name.startswith("_") and question.get("when", True) is not False
    }
    # Where the packages stand is asked of a project that exists alone.
    assert recorded - {"_src_path", "_commit"} == asked - {"source_folder"}
    assert "password" not in text.lower()


@pytest.mark.parametrize("forbidden", ["_tasks", "_migrations", "_jinja_extensions"])
def test_the_template_asks_for_no_trust(forbidden: str) -> None:
    assert forbidden not in QUESTIONS
