"""An update brings what the template manages and leaves alone what is a person's."""

import re
import shutil
import sys
from pathlib import Path

import copier
import pytest
import yaml

import release
from tests import projects
from tests.combinations import MODULES, module_sets
from tests.projects import ROOT, clean_environment, commit_all, files, git, run
from tests.updates.conftest import answers, append, begin, conflicts, dirty, is_yours, update
from tests.updates.edits import edit, edit_managed_files

PACKAGE = "src/my_project"
TEMPLATE = "template/{{ source_folder }}/{{ package_name }}"


# Where a project may come from: every release, and the last commit that differs from now. A
# shallow clone has not every release.
ORIGINS = [
    *(
        str(version)
        for version, commit in release.releases(ROOT).items()
        if release.has(ROOT, commit)
    ),
    "the commit before",
]


# What Copier reads of this repository.
PARTS = ("copier.yml", "modules", "template")


def begun(origin: str, folder: Path) -> Path:
    """A repository of the template as it was."""
    changed = git("status", "--porcelain", "--", *PARTS, cwd=ROOT)
    known = {str(version): commit for version, commit in release.releases(ROOT).items()}
    revision = known.get(origin) or ("HEAD" if changed else "HEAD^")
    repository = folder / "previous"
    repository.mkdir()
    archive = folder / "previous.tar"
    there = git("ls-tree", "--name-only", revision, "--", *PARTS, cwd=ROOT).splitlines()
    git("archive", "--output", archive, revision, *there, cwd=ROOT)
    run("tar", "-xf", archive, cwd=repository)
    commit_all(repository, origin)
    return repository


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    return begun(ORIGINS[-1], tmp_path)


@pytest.fixture(scope="session", params=ORIGINS)
def versions(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The template as it was, tagged 0.0.1, then as it is."""
    repository = begun(request.param, tmp_path_factory.mktemp("versions"))
    git("tag", "0.0.1", cwd=repository)
    advance(repository, template)
    return repository


@pytest.mark.parametrize(
    ("number", "modules"),
    [
        pytest.param(
            *(number, modules),
            id="-".join(modules) or "none",
            marks=() if len(modules) in (0, 1, len(MODULES)) else pytest.mark.long,
        )
        for number, modules in enumerate(module_sets())
    ],
)
def test_a_year_of_work_moves_to_this_version(
    versions: Path, tmp_path: Path, number: int, modules: tuple[str, ...]
) -> None:
    """It becomes what a new project is after the same work; every second one has everything else.

    All that nobody touched becomes what is rendered now, and all that was written is there.
    """
    whole = number % 2 == 1
    given = {"modules": list(modules), "http_api": whole, "example": whole}
    project = tmp_path / "project"
    copier.run_copy(
        str(versions),
        project,
        data={"project_name": projects.PROJECT_NAME, **given},
        defaults=True,
        quiet=True,
        unsafe=False,
        vcs_ref="0.0.1",
    )
    commit_all(project, "Begin")
    edit(project)
    commit_all(project, "Our work")
    yours = {path: content for path, content in files(project).items() if is_yours(path)}

    update(project)
    assert conflicts(project) == []
    fresh = projects.render(versions, tmp_path / "fresh", **given)
    edit(fresh)
    updated = files(project)
    assert {path: content for path, content in updated.items() if is_yours(path)} == yours
    assert {path: content for path, content in updated.items() if path not in yours} == {
        path: content for path, content in files(fresh).items() if not is_yours(path)
    }


def advance(repository: Path, template: Path) -> None:
    """The next version: the working tree's template."""
    for part in ("modules", "template"):
        shutil.rmtree(repository / part, ignore_errors=True)
    shutil.copytree(template, repository, dirs_exist_ok=True)
    commit_all(repository, "The next version")


def test_from_the_previous_commit(previous: Path, template: Path, tmp_path: Path) -> None:
    project = begin(previous, tmp_path / "project")
    was = answers(project)["_commit"]
    append(project / PACKAGE / "__main__.py", "# Ours.")
    append(project / PACKAGE / "market" / "ours.py", "# Ours.")
    append(project / "migrations" / "versions" / "20270101_000000_ours.py", "# Ours.")
    commit_all(project, "Our work")
    yours = {path: content for path, content in files(project).items() if is_yours(path)}

    advance(previous, template)
    update(project)

    updated = files(project)
    assert conflicts(project) == []
    assert {path: content for path, content in updated.items() if is_yours(path)} == yours
    fresh = files(begin(previous, tmp_path / "fresh"))
    managed = {path: content for path, content in fresh.items() if not is_yours(path)}
    assert {path: content for path, content in updated.items() if not is_yours(path)} == managed
    recorded = answers(project)
    assert recorded.pop("_commit") != was
    assert recorded["project_name"] == "My Project"
    assert recorded["package_name"] == "my_project"

    commit = git("rev-parse", "HEAD", cwd=project)
    update(project)
    assert files(project) == updated
    assert git("diff", commit.strip(), cwd=project) == ""


def test_what_is_yours_stays(growing: Path, tmp_path: Path) -> None:
    """Edited, deleted and added files of a person, against a template that changes all of them."""
    project = begin(growing, tmp_path / "project")
    append(project / PACKAGE / "app.py", "# Ours.")
    append(project / PACKAGE / "market" / "models.py", "# Ours.")
    append(project / PACKAGE / "market" / "invoices.py", "# Ours.")
    append(project / "migrations" / "env.py", "# Ours.")
    append(project / "tests" / "conftest.py", "# Ours.")
    append(project / "LICENSE", "Ours.")
    (project / PACKAGE / "market" / "queries.py").unlink()
    for sample in (project / "data").rglob("*.csv"):
        sample.unlink()
    for migration in (project / "migrations" / "versions").glob("*.py"):
        migration.rename(migration.with_name("20260101_000000_renamed.py"))
        break
    commit_all(project, "Our work")
    before = files(project)

    for path in (
        *(
            f"{TEMPLATE}/market/models.py",
            f"{TEMPLATE}/market/queries.py",
            f"{TEMPLATE}/__init__.py.jinja",
        ),
        *(f"{TEMPLATE}/market/brand_new.py", f"{TEMPLATE}/brand_new.py"),
        *("template/migrations/versions/20991231_000000_brand_new.py", "template/LICENSE.jinja"),
        *("template/data/brand_new.csv", "template/tests/market/test_brand_new.py"),
    ):
        append(growing / path, "# The template's.")
    append(growing / f"{TEMPLATE}/data_layer/brand_new.py", "# The template's.")
    commit_all(growing, "The next version")
    update(project)

    after = files(project)
    changed = {path for path in before.keys() | after if before.get(path) != after.get(path)}
    assert changed == {".copier-answers.yml", f"{PACKAGE}/data_layer/brand_new.py"}


def test_managed_files_merge_with_a_persons_edit(growing: Path, tmp_path: Path) -> None:
    project = begin(growing, tmp_path / "project")
    errors = project / PACKAGE / "data_layer" / "errors.py"
    errors.write_text(f"# Ours, above.\n{errors.read_text()}")
    commit_all(project, "Our work")

    append(growing / f"{TEMPLATE}/data_layer/errors.py", "# The template's, below.")
    commit_all(growing, "The next version")
    update(project)

    text = errors.read_text()
    assert text.startswith("# Ours, above.\n")
    assert text.endswith("# The template's, below.\n")
    assert conflicts(project) == []


def test_a_conflict_can_be_seen(growing: Path, tmp_path: Path) -> None:
    project = begin(growing, tmp_path / "project")
    append(project / PACKAGE / "data_layer" / "errors.py", "# Ours, at the end.")
    commit_all(project, "Our work")

    append(growing / f"{TEMPLATE}/data_layer/errors.py", "# The template's, at the end.")
    commit_all(growing, "The next version")
    update(project)

    text = (project / PACKAGE / "data_layer" / "errors.py").read_text()
    assert conflicts(project) == [f"{PACKAGE}/data_layer/errors.py"]
    assert "# Ours, at the end.\n" in text
    assert "# The template's, at the end.\n" in text


def test_a_managed_file_that_was_deleted_stays_deleted(growing: Path, tmp_path: Path) -> None:
    project = begin(growing, tmp_path / "project")
    (project / ".devcontainer" / "devcontainer.json").unlink()
    commit_all(project, "We have no use for it")

    append(growing / f"{TEMPLATE}/data_layer/errors.py", "# The template's.")
    commit_all(growing, "The next version")
    update(project)

    assert not (project / ".devcontainer").exists()


def test_the_env_file_is_out_of_reach(growing: Path, tmp_path: Path) -> None:
    """The secrets that `init` wrote are git-ignored: no update reads, moves or shows them."""
    project = begin(growing, tmp_path / "project")
    (project / ".env").write_text("DATABASE_PASSWORD=sesame-1815\n")
    assert dirty(project) == ""
    append(growing / "template/.env.example", "# The template's.")
    commit_all(growing, "The next version")
    update(project)
    assert (project / ".env").read_text() == "DATABASE_PASSWORD=sesame-1815\n"
    assert "sesame-1815" not in git("log", "-p", "--all", cwd=project)


def typed(command: str, *arguments: str, cwd: Path, check: bool = True) -> str:
    """What the real `copier` says to a person who types it: no trust, no question."""
    program = Path(sys.executable).with_name("copier")
    options = ("--defaults", "--vcs-ref", "HEAD", *arguments)
    done = run(program, command, *options, cwd=cwd, env=clean_environment(), check=check)
    return done.stdout + done.stderr


# Few files, where it does not matter which.
SMALL = {"http_api": False, "example": False}


def test_the_command_says_what_comes_next(growing: Path, tmp_path: Path) -> None:
    project = begin(growing, tmp_path / "project", **SMALL)
    append(growing / f"{TEMPLATE}/data_layer/errors.py", "# The template's.")
    commit_all(growing, "The next version")
    assert "is updated" not in typed("update", "--pretend", cwd=project)
    (project / ".env").touch()
    said = typed("update", "-d", "modules=[files, redis]", cwd=project)
    assert "uv run my-project files init" in said
    assert "uv run my-project init" in said
    for command in ("git diff", "uv sync && uv run pytest", "uv run my-project check"):
        assert command in said
    text = (project / PACKAGE / "data_layer" / "errors.py").read_text()
    assert text.endswith("# The template's.\n")
    assert answers(project)["project_name"] == projects.PROJECT_NAME


def test_the_program_updates_as_these_tests_do(growing: Path, tmp_path: Path) -> None:
    """They keep what Copier clones and works out again and again."""
    ours = begin(growing, tmp_path / "ours", modules=["files"])
    edit_managed_files(ours)
    commit_all(ours, "Our work")
    theirs = shutil.copytree(ours, tmp_path / "theirs")
    append(growing / "template" / "compose.yaml.jinja", "# The next version.")
    commit_all(growing, "The next version")

    update(ours, modules=["redis"])
    copier = Path(sys.executable).with_name("copier")
    options = ("--defaults", "--skip-answered", "--quiet", "--vcs-ref=HEAD")
    run(copier, "update", *options, "--data=modules=[redis]", cwd=theirs)
    commit_all(theirs, "Update")
    assert answers(ours)["modules"] == ["redis"]
    assert files(theirs) == files(ours)


def test_the_first_copy_says_what_comes_next(current: Path, tmp_path: Path) -> None:
    copy = ["copy", str(current), str(tmp_path / "project"), "-d", "project_name=My Project"]
    copy += ["-d", "http_api=false", "-d", "example=false"]
    assert "is ready" not in typed(*copy, "--pretend", cwd=tmp_path)
    said = typed(*copy, cwd=tmp_path)
    assert "uv run my-project demo" in said
    assert "put its git\naddress into _src_path" in said
    assert "uv run my-project demo" not in typed(
        *copy, "-d", "modules=[timescaledb]", "--overwrite", cwd=tmp_path
    )


def test_a_relative_path_of_the_template_is_refused(current: Path, tmp_path: Path) -> None:
    """Nobody could update such a project, as Copier looks for the path from where one stands."""
    copy = ("copy", current.name, str(tmp_path / "project"), "-d", "project_name=My Project")
    said = typed(*copy, cwd=current.parent, check=False)
    assert f"can't be updated from the relative path {current.name}; name the template" in said
    assert not (tmp_path / "project").exists()


def test_another_name_of_the_package_is_refused(growing: Path, tmp_path: Path) -> None:
    project = begin(growing, tmp_path / "project", **SMALL)
    before = files(project)
    said = typed("update", "-d", "package_name=another", cwd=project, check=False)
    assert "The package of this project is my_project, and an update can't rename it" in said
    assert files(project) == before
    assert dirty(project) == ""


@pytest.mark.parametrize(
    ("provider", "pipeline"),
    [("github", ".github/workflows/data-layer.yml"), ("gitlab", ".gitlab-ci.yml")],
)
def test_hooks_and_pipelines_refuse_a_half_merged_update(
    current: Path, tmp_path: Path, provider: str, pipeline: str
) -> None:
    project = begin(current, tmp_path / "project", ci_provider=provider, **SMALL)
    hooks = yaml.safe_load((project / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = {hook["id"]: hook["entry"] for hook in hooks["repos"][0]["hooks"]}
    assert entries["update"] == "uv run --no-sync my-project check --only DL-UP"
    runs = [
        line
        for line in (project / pipeline).read_text(encoding="utf-8").splitlines()
        if "prek run --all-files" in line
    ]
    assert [line for line in runs if " update " in line] == runs != []


def test_a_machine_that_writes_crlf_and_ignores_data_gets_the_same(
    growing: Path, tmp_path: Path
) -> None:
    shutil.copy2(ROOT / ".gitattributes", growing)
    commit_all(growing, "As in the repository of the template")
    ignored, settings = tmp_path / "ignored", tmp_path / "gitconfig"
    ignored.write_text("data/\n*.rej\n", encoding="utf-8")
    settings.write_text(
        f"[core]\nautocrlf = true\nexcludesFile = {ignored}\n", encoding="utf-8", newline="\n"
    )
    theirs = clean_environment(GIT_CONFIG_GLOBAL=settings)
    project = tmp_path / "project"
    run(
        *(Path(sys.executable).with_name("copier"), "copy", "--defaults", "--quiet"),
        *("--vcs-ref", "HEAD", "-d", "project_name=My Project", "-d", "modules=[files, redis]"),
        *("-d", "http_api=false", "-d", "example=false", growing, project),
        cwd=tmp_path,
        env=theirs,
    )
    assert [path for path, content in files(project).items() if b"\r\n" in content] == []
    run("git", "init", "--quiet", cwd=project, env=theirs)
    run("git", "add", "--all", cwd=project, env=theirs)
    tracked = run("git", "ls-files", "data", cwd=project, env=theirs).stdout.splitlines()
    assert {"data/README.md", "data/raw/README.md", "data/samples/README.md"} <= set(tracked)


def test_the_first_command_of_the_readme_works_from_a_git_address(
    growing: Path, tmp_path: Path
) -> None:
    """It takes the last release, remembers the address, and updates to the next release."""
    git("tag", "0.1.0", cwd=growing)
    served = tmp_path / "served.git"
    append(growing / f"{TEMPLATE}/data_layer/errors.py", "# Not released.")
    commit_all(growing, "The next version")
    git("clone", "--quiet", "--bare", growing, served, cwd=tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^uvx (copier copy) (https://\S+) (\S+)$", readme, re.MULTILINE)
    assert found
    program, *options = found[1].split()
    answers_given = (
        "-d",
        "project_name=Market Desk",
        "-d",
        "http_api=false",
        "-d",
        "example=false",
    )
    run(
        *(Path(sys.executable).with_name(program), *options, "--defaults", *answers_given),
        *(served.as_uri(), found[3]),
        cwd=tmp_path,
        env=clean_environment(),
    )
    project = tmp_path / found[3]
    commit_all(project, "Begin")
    recorded = answers(project)
    assert (recorded["_src_path"], recorded["_commit"]) == (served.as_uri(), "0.1.0")
    assert recorded["package_name"] == "market_desk"
    git("tag", "0.2.0", "main", cwd=served)
    run(Path(sys.executable).with_name("copier"), "update", "--defaults", cwd=project)
    assert answers(project)["_commit"] == "0.2.0"


STUBS = {
    "uvx": 'exec "$@"',
    "gh": 'echo "$*" >> "$HOME/gh"; test "$2" != view',
    "uv": 'shift 2; exec python -m my_project "$@"',
}


@pytest.mark.parametrize(
    ("provider", "conflict"), [("github", False), ("github", True), ("gitlab", True)]
)
def test_a_new_version_comes_by_a_request_that_fails_on_conflicts(
    growing: Path, environment: Path, tmp_path: Path, provider: str, conflict: bool
) -> None:
    """What the page tells to put into the pipeline, run as the provider's machines run it."""
    git("tag", "0.1.0", cwd=growing)
    project, host = tmp_path / "project", tmp_path / "host.git"
    projects.render(growing, project, ci_provider=provider, **SMALL)
    if conflict:
        append(project / PACKAGE / "data_layer" / "errors.py", "# Ours, at the end.")
    commit_all(project, "Our work")
    git("clone", "--quiet", "--bare", project, host, cwd=tmp_path)

    page = (project / "docs/data-layer/modules.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block
    pipeline = yaml.safe_load(block[1])
    if provider == "github":
        script = pipeline["jobs"]["update"]["steps"][-1]["run"]
        (tmp_path / "template.yml").write_text(block[1], encoding="utf-8")
        tools = Path(sys.executable).parent
        schema = ("--builtin-schema", "vendor.github-workflows")
        run(tools / "check-jsonschema", *schema, "template.yml", cwd=tmp_path)
    else:
        script = "\n".join(pipeline["template-update"]["script"])
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in STUBS.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f'[url "{host}"]\n'
        "insteadOf = https://x-access-token:secret@github.com/team/project.git\n"
        "insteadOf = https://oauth2:secret@gitlab.example.org/team/project.git\n"
        "[receive]\nadvertisePushOptions = true\n"
    )
    git("config", "receive.advertisePushOptions", "true", cwd=host)
    ours = {
        "HOME": str(tmp_path),
        "PATH": f"{tools}:{environment / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(project / "src"),
        "GH_TOKEN": "secret",
        "TEMPLATE_UPDATE_TOKEN": "secret",
        "GITHUB_REPOSITORY": "team/project",
        "CI_SERVER_HOST": "gitlab.example.org",
        "CI_PROJECT_PATH": "team/project",
    }

    def scheduled() -> int:
        git("switch", "--quiet", "main", cwd=project)
        environment_of_the_job = clean_environment(**ours)
        command = ("bash", "-e", "-c", script)
        done = run(*command, cwd=project, env=environment_of_the_job, check=False)
        return done.returncode

    assert scheduled() == 0
    assert git("branch", "--list", "template-update", cwd=host) == ""

    append(growing / f"{TEMPLATE}/data_layer/errors.py", "# The template's.")
    commit_all(growing, "The next version")
    git("tag", "0.2.0", cwd=growing)
    assert (scheduled() != 0) == conflict
    pushed = git("show", f"template-update:{PACKAGE}/data_layer/errors.py", cwd=host)
    assert "# The template's." in pushed
    if provider == "github":
        asked = (tmp_path / "gh").read_text()
        assert ("pr create" in asked, "--draft" in asked) == (True, conflict)
