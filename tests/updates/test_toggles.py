"""An answer changed and changed back leaves the tree as it was, a person's work included."""

import tomllib
from itertools import combinations
from pathlib import Path

import pytest

from tests.combinations import MODULES
from tests.markdown import dead_links
from tests.projects import clean_environment, commit_all, files, run
from tests.updates.conftest import answers, append, begin, conflicts, is_yours, update
from tests.updates.edits import edit_managed_files

TOGGLES: list[tuple[str, object, object]] = [
    # From all of them on, off and on again: test_year.py.
    *(("modules", [], [module]) for module in MODULES),
    ("http_api", False, True),
    ("http_api", True, False),
    ("example", False, True),
    ("example", True, False),
    ("ci_provider", "github", "gitlab"),
    ("ci_provider", "gitlab", "none"),
    ("ci_provider", "none", "github"),
    ("postgres_version", "18", "16"),
    ("python_version", "3.11", "3.14"),
    ("license", "MIT", "Apache-2.0"),
]
PAIRS: list[tuple[str, object, object]] = [
    ("modules", [], [*pair]) for pair in combinations(MODULES, 2)
]


def work(project: Path) -> None:
    """What a person does in a project that no toggle may undo."""
    edit_managed_files(project)
    package = project / "src" / "my_project"
    append(package / "__main__.py", "# Ours.")
    append(package / "billing" / "__init__.py", '"""Our own package beside the layer."""')
    append(project / "migrations" / "versions" / "20270101_000000_add_invoices.py", '"""Ours."""')
    append(project / "tests" / "billing" / "test_billing.py", '"""Ours."""')
    append(project / "docs" / "ours.md", "# Ours")
    append(project / "ops" / "postgres" / "ours.conf", "# Ours")
    market = package / "market"
    if market.exists():
        append(market / "models.py", "# Ours.")
        (market / "queries.py").unlink()


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [*TOGGLES, *(pytest.param(*pair, marks=pytest.mark.long) for pair in PAIRS)],
    ids=[f"{name} {first} and {second}" for name, first, second in [*TOGGLES, *PAIRS]],
)
def test_there_and_back(
    current: Path, tmp_path: Path, name: str, first: object, second: object
) -> None:
    project = begin(current, tmp_path / "project", **{name: first})
    work(project)
    commit_all(project, "Our work")
    before = files(project)

    update(project, **{name: second})
    assert conflicts(project) == []
    assert answers(project)[name] == second
    between = files(project)
    assert {path: content for path, content in between.items() if is_yours(path)} == {
        path: content for path, content in before.items() if is_yours(path)
    }
    if name not in ("example", "license"):
        # These two decide only what is yours, which an update leaves alone.
        changed = {
            path for path in before.keys() | between if before.get(path) != between.get(path)
        }
        assert changed > {".copier-answers.yml"}

    update(project, **{name: first})
    assert conflicts(project) == []
    assert files(project) == before


@pytest.mark.parametrize("http_api", [True, False])
def test_a_toggled_project_equals_a_new_one(current: Path, tmp_path: Path, http_api: bool) -> None:
    """Managed files do not remember how the answer came about."""
    toggled = begin(current, tmp_path / "toggled", http_api=not http_api)
    update(toggled, http_api=http_api)
    fresh = begin(current, tmp_path / "fresh", http_api=http_api)

    def managed(project: Path) -> dict[str, bytes]:
        return {path: content for path, content in files(project).items() if not is_yours(path)}

    assert managed(toggled) == managed(fresh)


@pytest.mark.parametrize("example", [True, False])
def test_files_switched_on_later_is_whole_after_init(
    current: Path, environment: Path, tmp_path: Path, example: bool
) -> None:
    """What is yours comes with the first copy alone, so a command makes what pages link to."""
    project = begin(current, tmp_path / "project", example=example)
    update(project, modules=["files"])
    run(
        *(environment / "bin" / "python", "-m", "my_project", "files", "init"),
        cwd=project,
        env=clean_environment(PYTHONPATH=project / "src"),
    )
    pages = [project / path for path in files(project) if path.endswith(".md")]
    assert project / "docs" / "data-layer" / "files.md" in pages
    assert dead_links(project, pages) == []
    commit_all(project, "Begin the data tree")
    assert {path for path in files(project) if path.startswith(("data/raw", "scripts"))} == {
        "data/raw/README.md",
        "scripts/README.md",
    }
    # mypy refuses to run where a pattern finds nothing.
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert all(any(project.glob(pattern)) for pattern in settings["tool"]["mypy"]["files"])
