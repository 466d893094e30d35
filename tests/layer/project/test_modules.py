"""What the source of a project says of modules that came or went, and of updates: DL-UP."""

import ast
import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from my_project.data_layer import checklist
from my_project.data_layer.checklist import Finding, Verdict
from my_project.data_layer.modules import checks, source, update
from my_project.data_layer.modules.commands import modules_commands
from my_project.data_layer.modules.remains import Remains

Write = Callable[[str, str], Path]
LAYER = "src/my_project/data_layer"


def git(project: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=project, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with `redis` and without the other modules, committed."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "alembic.ini").touch()
    answers = "_commit: abc\nmodules:\n- redis\npackage_name: my_project\n"
    text = f"# Written by copier.\n# sha256: {update.digest(answers)}\n_src_path: gh:a/b\n{answers}"
    (folder / ".copier-answers.yml").write_text(text)
    (folder / ".env.example").write_text("DATABASE_URL=postgresql://a@b/c\nREDIS_PASSWORD=\n")
    for part in ("", "database/", "redis/"):
        path = folder / LAYER / f"{part}__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(source, "LAYER", folder / LAYER)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return folder


@pytest.fixture
def write(project: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


def ask(number: int) -> Finding:
    (result,) = asyncio.run(checklist.run([checks.update_checks()[number - 1]])).results
    assert result.check.id == f"DL-UP-{number:02}"
    return result.finding


def told(finding: Finding) -> str:
    return f"{finding.evidence} {finding.remedy}"


def test_source_is_parsed_on_the_thread_of_the_event_loop(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other checks parse there too, and two threads that do so at once make Python fail."""
    write(f"{Path(LAYER).parent}/app.py", "")
    threads = set()
    parse = ast.parse

    def noted(text: bytes) -> ast.Module:
        threads.add(threading.current_thread())
        return parse(text)

    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", noted)
        report = asyncio.run(checklist.run(checks.update_checks()))
    assert len(report.results) == 6
    assert threads == {threading.current_thread()}


@pytest.mark.standard("DL-UP-01")
@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("src/my_project/market/files/archive.py", "from ...data_layer.files import DataTree"),
        ("src/my_project/market/files/archive.py", "from ...data_layer import files"),
        ("src/my_project/__main__.py", "from .data_layer.files.tree import DataTree"),
        ("src/my_project/market/__init__.py", "from ..data_layer.files import DataTree"),
        ("migrations/versions/1.py", "import my_project.data_layer.files as f"),
        ("tests/market/test_a.py", "from my_project.data_layer.files import DataTree"),
        ("tests/test_a.py", "if True:\n    from my_project.data_layer import files"),
        ("scripts/a.py", "def f():\n    from my_project.data_layer.files import DataTree"),
    ],
)
def test_an_import_of_what_is_switched_off_is_named(write: Write, path: str, line: str) -> None:
    assert ask(1).verdict is Verdict.PASSED
    write(path, f'"""Ours."""\n\n{line}\n')

    found = ask(1)

    assert found.verdict is Verdict.FAILED
    number = 3 + line.count("\n")
    assert f"{path}:{number} imports data_layer.files, which is switched off." in found.evidence
    assert found.remedy == "Delete the file, or switch it on."


@pytest.mark.standard("DL-UP-01")
def test_what_is_on_or_only_of_a_like_name_may_be_imported(write: Write, project: Path) -> None:
    write("src/my_project/a.py", "from .data_layer.redis import Cache\nfrom .files import x\n")
    write("src/my_project/b.py", "from other.data_layer.files import x\nimport files, duckdb\n")
    write("src/my_project/c.py", "from .data_layer.files_of_ours import x\n")
    write("src/my_project/d.py", "from .... import too_far\nfrom . import data_layer\n")
    write(f"{LAYER}/wiring.py", "from .files import x\n")
    assert ask(1).verdict is Verdict.PASSED

    # What Python has compiled stays when the files go.
    write(f"{LAYER}/duckdb/__pycache__/a.pyc", "")
    write("src/my_project/e.py", "from .data_layer.duckdb import Lake\n")
    assert "e.py:1 imports data_layer.duckdb" in ask(1).evidence


@pytest.mark.standard("DL-UP-02")
@pytest.mark.parametrize("mark", ["<<<<<<< before updating", ">>>>>>> after updating", "||||||| a"])
def test_a_conflict_is_found_wherever_git_looks(write: Write, mark: str) -> None:
    assert ask(2).verdict is Verdict.PASSED
    write("docs/a.md", f"# A\n\n{mark}\nours\n=======\n")

    assert "docs/a.md:3 holds a conflict" in ask(2).evidence
    assert "choose a side" in ask(2).remedy.lower()


@pytest.mark.standard("DL-UP-02")
def test_what_only_looks_like_a_conflict_is_none(write: Write) -> None:
    write("a.rst", "A\n=======\n\n  <<<<<<< indented\n<<<<<<<< eight\n")
    write(".gitignore", "build/\n")
    write("build/a.py", "<<<<<<< before updating\n")
    assert ask(2).verdict is Verdict.PASSED


@pytest.mark.standard("DL-UP-02")
def test_rejected_hunks_are_found_where_git_ignores_them(write: Write) -> None:
    write(".gitignore", "*.rej\nbuild/\n")
    write("compose.yaml.rej", "@@ -1 +1 @@\n")
    write("build/a b.py.orig", "")

    found = told(ask(2))

    assert "compose.yaml.rej holds what an update could not merge" in found
    assert "build/a b.py.orig holds" in found


@pytest.mark.standard("DL-UP-02")
def test_an_index_that_is_not_merged_is_found_without_a_mark(write: Write, project: Path) -> None:
    file = write("a.txt", "base\n")
    git(project, "add", "a.txt")
    git(project, "commit", "--quiet", "--message", "A")
    for branch, text in (("ours", "ours\n"), ("theirs", "theirs\n")):
        git(project, "checkout", "--quiet", "-B", branch, "HEAD" if branch == "ours" else "HEAD^")
        file.write_text(text)
        git(project, "add", "a.txt")
        git(project, "commit", "--quiet", "--message", branch)
    with pytest.raises(subprocess.CalledProcessError):
        git(project, "merge", "--quiet", "ours")
    file.write_text("chosen\n")

    found = ask(2)

    assert "a.txt is not merged in git's index" in found.evidence
    assert "`git add a.txt`" in found.remedy


@pytest.mark.standard("DL-UP-03")
def test_an_answer_that_was_edited_by_hand_is_found(project: Path) -> None:
    file = project / ".copier-answers.yml"
    assert ask(3).verdict is Verdict.PASSED
    text = file.read_text()
    # Where the template is may change: a team moves it to another server.
    file.write_text(text.replace("gh:a/b", "gh:c/d"))
    assert ask(3).verdict is Verdict.PASSED
    # An older version of the template wrote no hash.
    file.write_text("\n".join(line for line in text.splitlines() if "sha256" not in line))
    assert ask(3).verdict is Verdict.PASSED

    file.write_text(text.replace("- redis", "- redis\n- files"))
    assert "was edited by hand" in ask(3).evidence
    file.write_text(text.replace("_commit: abc", "_commit: def"))
    assert "`copier update -d name=value`" in ask(3).remedy
    file.unlink()
    assert "is missing" in ask(3).evidence


@pytest.mark.standard("DL-UP-04")
def test_a_package_whose_layer_has_moved_is_found(write: Write, project: Path) -> None:
    write("src/billing/__init__.py", "from my_project.data_layer.database import Base\n")
    assert ask(4).verdict is Verdict.PASSED
    write("src/former/app.py", "from .data_layer.http import create_api\n")
    write("src/former/market/models.py", "from ..data_layer.database import Base\n")

    found = ask(4)

    assert "imports former.data_layer, which an update has moved to my_project" in found.evidence
    assert found.remedy.startswith("Undo that update")


@pytest.mark.standard("DL-UP-05")
def test_settings_that_came_with_a_module_are_named(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_PASSWORD", raising=False)
    assert ".env lacks DATABASE_URL, REDIS_PASSWORD." in ask(5).evidence
    write(".env", "DATABASE_URL=postgresql://a@b/c\n")
    assert ask(5).evidence == ".env lacks REDIS_PASSWORD."
    assert "init` adds them" in ask(5).remedy
    monkeypatch.setenv("REDIS_PASSWORD", "")
    assert ask(5).verdict is Verdict.PASSED


@pytest.mark.standard("DL-UP-06")
def test_an_api_without_an_application_is_named(write: Write) -> None:
    assert ask(6).verdict is Verdict.PASSED
    write(f"{LAYER}/http/__init__.py", "")
    assert "Write src/my_project/app.py" in ask(6).remedy
    write("src/my_project/serving/web.py", "from ..data_layer.http import create_api\n")
    assert ask(6).verdict is Verdict.PASSED


@pytest.fixture
def living() -> list[Remains]:
    return []


@pytest.fixture
def typed(living: list[Remains], project: Path) -> Callable[..., tuple[int, str]]:
    async def remains(module: str) -> list[Remains]:
        return living

    def invoke(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(modules_commands(remains), arguments)
        return done.exit_code, done.output or str(done.exception)

    return invoke


def test_add_prints_all_modules(typed: Callable[..., tuple[int, str]]) -> None:
    code, output = typed("add", "timescaledb")
    assert code == 0
    assert "copier update -d 'modules=[timescaledb, redis]'" in output
    assert "redis is switched on already" in typed("add", "redis")[1]
    assert "There is no module rediss" in typed("add", "rediss")[1]


def test_remove_refuses_until_nothing_breaks_or_is_lost(
    typed: Callable[..., tuple[int, str]], living: list[Remains], write: Write, project: Path
) -> None:
    ours = write("src/my_project/prices.py", "from .data_layer.redis import Cache\n" * 2)
    # A folder that has the module's name, and its tests, which name only that folder.
    folders = [
        write("src/my_project/market/redis/prices.py", "from ...data_layer.redis import Cache\n"),
        write("tests/market/redis/test_prices.py", "from my_project.market.redis import prices\n"),
    ]
    user = write("src/my_project/app.py", "from .market.redis.prices import cached\n")
    # The same name means something else here.
    write("src/my_project/billing/redis/__init__.py", "from ...data_layer.database import Base\n")
    added = write(f"{LAYER}/redis/ours.py", "")
    edited = write(f"{LAYER}/redis/__init__.py", "EDITED = True\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Ours")
    living += [Remains("Keys expire.", lost=False), Remains("The queue holds 3 jobs.", lost=True)]

    code, output = typed("remove", "redis")

    assert code == 1
    lines = output.splitlines()
    assert lines[0].startswith("- src/my_project/app.py:1 imports my_project.market.redis.prices")
    assert lines[1].startswith("- src/my_project/market/redis/ stands on data_layer.redis: ")
    assert lines[2].startswith("- src/my_project/prices.py:1 imports my_project.data_layer.redis")
    assert lines[3].startswith("- tests/market/redis/ stands on data_layer.redis: ")
    assert f"- {LAYER}/redis/__init__.py holds edits since " in lines[4]
    assert f"- {LAYER}/redis/ours.py is yours" in lines[5]
    assert lines[6] == "- The queue holds 3 jobs."
    assert lines[7] == "7 of these to do before redis can be switched off."
    assert "copier update" not in output

    for path in (ours, user, *folders):
        path.unlink()
    added.unlink()
    edited.write_text("")
    living.pop()
    code, output = typed("remove", "redis")
    assert code == 0
    assert "copier update -d 'modules=[]'" in output
    assert "- Keys expire." in output
    assert "files is switched off already" in typed("remove", "files")[1]


@pytest.mark.parametrize("broken", ["from .data_layer.gone import x", "<<<<<<< before updating"])
def test_the_command_line_says_why_it_can_not_be_imported(
    project: Path, write: Write, broken: str
) -> None:
    """Of a copy of this layer, without what is installed beside the standard library."""
    real = Path(checks.__file__).parents[1]
    for name in ("errors", "git", "project", "__main__"):
        file = real / f"{name}.py"
        write(f"{LAYER}/{file.name}", file.read_text())
    for name in ("__init__", "source", "update"):
        write(f"{LAYER}/modules/{name}.py", (real / "modules" / f"{name}.py").read_text())
    write("src/my_project/__main__.py", f'"""Ours."""\n{broken}\n'.replace("gone", "files"))

    done = subprocess.run(
        [sys.executable, "-S", "-m", "my_project.data_layer", "check"],
        cwd=project,
        env={"PYTHONPATH": str(project / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("src/my_project/__main__.py:2 ")


@pytest.mark.parametrize("sources", [".", "backend/src"])
def test_imports_are_found_where_a_project_has_its_packages(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch, sources: str
) -> None:
    layer = f"{sources}/my_project/data_layer"
    monkeypatch.setattr(source, "LAYER", project / layer)
    write(f"{sources}/my_project/__init__.py", "")
    write(f"{layer}/redis/__init__.py", "")
    write(f"{layer}/wiring.py", "from . import files\n")
    for ignored in (".venv", "node_modules"):
        write(f"{sources}/my_project/{ignored}/x.py", "import my_project.data_layer.files\n")
    write("tests/data_layer/test_files.py", "import my_project.data_layer.files\n")
    assert ask(1).verdict is Verdict.PASSED
    write(f"{sources}/my_project/old/uses.py", "from ..data_layer.files import Tree\n")
    path = f"{sources}/my_project/old/uses.py".removeprefix("./")
    assert f"{path}:1 imports data_layer.files" in ask(1).evidence
