"""What a module adds to files of the core stands in the module's folder."""

import re
import shutil
from pathlib import Path

import yaml

from examples.render import snapshot
from tests import projects
from tests.combinations import MODULES, QUESTIONS
from tests.projects import ROOT

FRAGMENTS = ROOT / "modules"
PACKAGE = "{{ source_folder }}/{{ package_name }}/"

# Each says what is there without a module, or where two meet; what only adds needs no condition.
CONDITIONS = {
    "copier.yml",
    "modules/duckdb/data_layer/wiring.py.jinja",
    "modules/files/data/README.md.jinja",
    "modules/of_modules.jinja",
    "template/.dockerignore.jinja",
    "template/Dockerfile.jinja",
    "template/README.md.jinja",
    "template/docs/data-layer/data-architecture.md.jinja",
}


def sources() -> list[Path]:
    """What Copier reads and renders."""
    files = [*(ROOT / "template").rglob("*.jinja"), *FRAGMENTS.rglob("*.jinja")]
    return [ROOT / "copier.yml", *files]


def asked() -> set[tuple[str, str]]:
    """Each place that a file of the core asks the modules for: the file, and the place."""
    return {
        call
        for path in (ROOT / "template").rglob("*.jinja")
        for call in re.findall(r"of_modules\('([^']+)', '([^']+)'\)", path.read_text("utf-8"))
    }


def told() -> list[tuple[str, str, str]]:
    """Each text of a module: the module, the file of the core, and the place."""
    return [
        (module, path.relative_to(FRAGMENTS / module).as_posix().removesuffix(".jinja"), place)
        for module in MODULES
        for path in sorted((FRAGMENTS / module).rglob("*.jinja"))
        for place in re.findall(r"place == '([^']+)'", path.read_text("utf-8"))
    ]


def test_conditions_on_modules_stay_where_they_are() -> None:
    named = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if re.search(r"\bin modules\b", path.read_text("utf-8"))
    }
    assert named == CONDITIONS
    assert len(CONDITIONS) <= 12


def test_a_file_of_the_core_asks_in_its_own_name() -> None:
    for path in (ROOT / "template").rglob("*.jinja"):
        own = path.relative_to(ROOT / "template").as_posix().removesuffix(".jinja")
        for file in re.findall(r"of_modules\('([^']+)'", path.read_text("utf-8")):
            assert file == own.removeprefix(PACKAGE), path


def test_every_text_of_a_module_is_asked_for_and_every_place_is_filled() -> None:
    """A text under a name that nobody asks for would be lost without a word."""
    assert {(file, place) for _, file, place in told()} == asked()
    assert len(set(told())) == len(told())
    files = {path for path in FRAGMENTS.rglob("*") if path.is_file()}
    read = {FRAGMENTS / module / f"{file}.jinja" for module, file, _ in told()}
    assert files == {FRAGMENTS / "of_modules.jinja", *read}


def test_every_module_is_in_every_list() -> None:
    assert yaml.safe_load(QUESTIONS["every_module"]["default"]) == MODULES
    assert sorted(MODULES) == sorted(path.name for path in FRAGMENTS.iterdir() if path.is_dir())


def test_a_module_comes_by_its_folder(tmp_path: Path) -> None:
    """No file of the core is touched but copier.yml."""
    template = snapshot(tmp_path / "template")
    questions = template / "copier.yml"
    text = questions.read_text("utf-8")
    text = text.replace(", redis]", ", redis, graph]")
    text = re.sub(r"(\n    \"redis: .*: redis)", r'\1\n    "graph: edges": graph', text)
    questions.write_text(text, encoding="utf-8")
    folder = template / "modules" / "graph"
    folder.mkdir()
    (folder / "pyproject.toml.jinja").write_text(
        "{%- if place == 'dependencies' %}\n    \"graph>=1\",\n{%- endif %}\n", encoding="utf-8"
    )

    # The order of the question, whatever order was typed.
    project = projects.render(template, tmp_path / "project", modules=["graph", "redis"])
    lines = (project / "pyproject.toml").read_text("utf-8").splitlines()
    assert lines.index('    "graph>=1",') == lines.index('    "taskiq>=0.13",') + 1
    assert not list(project.rglob("of_modules*"))

    shutil.rmtree(project)
    project = projects.render(template, tmp_path / "project", modules=["redis"])
    assert "graph" not in (project / "pyproject.toml").read_text("utf-8")
