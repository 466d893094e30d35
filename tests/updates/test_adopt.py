"""A project that was there before the layer adopts it: nothing of its own is overwritten."""

import re
import shutil
import tomllib
from pathlib import Path

import copier
import psycopg
import pytest

from tests.checker import check_types
from tests.combinations import MODULES
from tests.markdown import dead_links
from tests.projects import commit_all, files, git, render, run
from tests.updates.adoption import ANSWERS, BASELINE, PYPROJECT, Existing, adopt, asked, follow
from tests.updates.conftest import Typed, append, conflicts, database, dirty

PLAIN = Existing("shop")
OTHERS = {
    "flat, without migrations": Existing("app", sources=".", migrations=""),
    # Its database and its migrations are its own, and so is the file of settings above it.
    "full stack": Existing(
        "app",
        folder="backend",
        sources=".",
        migrations="app/alembic",
        files={
            ".env": "POSTGRES_PASSWORD=changethis\n",
            "docker-compose.yml": "services:\n  db:\n    image: postgres:17\n",
            "backend/tests/__init__.py": "",
            "backend/tests/conftest.py": '"""Theirs."""\n\n',
            "frontend/package.json": "{}\n",
        },
    ),
    "another template": Existing(
        "web",
        sources="backend/src",
        files={
            ".copier-answers.yml": "_commit: v2\n_src_path: gh:somebody/else\nmodules: none\n",
            ".github/workflows/ci.yml": "on: push\n",
            "README.md": "# Theirs\n",
            "docs/index.md": "# Theirs\n",
            "ops/nginx/nginx.conf": "events {}\n",
            "compose.yaml": "services: {}\n",
            "mypy.ini": "[mypy]\n\n[mypy-web.data_layer.*]\nignore_errors = True\n\n"
            "[mypy-tests.data_layer.*]\nignore_errors = True\n",
            ".env.example": "SECRET=\n",
        },
    ),
    "monorepo": Existing(
        "billing",
        folder="services/billing",
        files={
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["services/*"]\n',
            "services/orders/pyproject.toml": PYPROJECT.format(name="orders"),
            "services/orders/src/orders/data_layer/wiring.py": "",
        },
    ),
}
# What the page names; all else that is theirs stays as it is, to the byte.
NAMED = re.compile(
    r"(pyproject\.toml|alembic\.ini|\.squawk\.toml|\.env\.example|\.git(ignore|attributes)"
    r"|compose\.yaml|tests/(__init__|conftest)\.py|(.*/)?(migrations|alembic)/env\.py)"
)


def update(project: Path, **answers: object) -> None:
    copier.run_update(
        project,
        answers_file=ANSWERS,
        data=answers,
        defaults=True,
        overwrite=True,
        skip_answered=True,
        quiet=True,
        unsafe=False,
        vcs_ref="HEAD",
    )
    commit_all(project, f"Update {answers}")


@pytest.fixture(scope="module")
def python(environment: Path) -> Path:
    return environment / "bin" / "python"


@pytest.mark.parametrize("existing", OTHERS.values(), ids=OTHERS)
def test_adoption_leaves_what_is_theirs_and_ends_green(
    growing: Path, tmp_path: Path, python: Path, existing: Existing
) -> None:
    repository = tmp_path / "a repository"
    project = existing.write(repository)
    theirs = files(repository)

    adopt(growing, project, existing, http_api=existing.sources == ".")
    came = {path: text for path, text in files(repository).items() if path not in theirs}
    assert {path: files(repository)[path] for path in theirs} == theirs
    base = "" if existing.folder == "." else f"{existing.folder}/"
    package = f"{existing.sources}/{existing.package}".removeprefix("./")
    ours = (f"{package}/data_layer/", "tests/data_layer/", "docs/data-layer/", "ops/", ANSWERS)
    assert [path for path in came if not path.startswith(tuple(base + one for one in ours))] == []
    pages = [
        path for folder in ("docs/data-layer", "ops") for path in (project / folder).rglob("*.md")
    ]
    assert dead_links(project, pages) == []

    told = asked(project, existing, python)
    assert told.returncode == 1
    assert "of these are missing; docs/data-layer/adopt.md has them to copy" in told.stdout
    commit_all(repository, "Adopt the layer")
    follow(project, existing)
    if not existing.migrations:
        # What the page says to type: `alembic init migrations`, and then its lines.
        run(python.with_name("alembic"), "init", "migrations", cwd=project)
        existing = Existing(existing.package, existing.folder, existing.sources)
        follow(project, existing)
    told = asked(project, existing, python)
    assert (told.stdout, told.returncode) == ("Nothing is missing.\n", 0)
    now = files(repository)
    changed = {path.removeprefix(base) for path in theirs if now.get(path) != theirs[path]}
    assert [path for path in changed if not NAMED.fullmatch(path)] == []
    commit_all(repository, "Follow the page")

    followed = files(repository)
    append(
        growing / "template/{{ source_folder }}/{{ package_name }}/data_layer/errors.py", "# New."
    )
    commit_all(growing, "The next version")
    update(project)
    now = files(repository)
    changed = {path for path in now.keys() | followed if now.get(path) != followed.get(path)}
    assert changed == {f"{base}{package}/data_layer/errors.py", f"{base}{ANSWERS}"}
    assert asked(project, existing, python).returncode == 0


def test_modules_come_and_go_after_an_adoption(
    current: Path, tmp_path: Path, environment: Path, python: Path
) -> None:
    """In a subfolder of a repository, with a template of somebody else beside."""
    existing = OTHERS["full stack"]
    project = existing.write(tmp_path / "repository")
    append(project / ".copier-answers.yml", "_src_path: gh:somebody/else")
    adopt(current, project, existing, modules=["duckdb"])
    follow(project, existing)
    commit_all(project, "Adopt the layer")
    before = files(project)
    typed = Typed(project, environment)
    cli = ("python", "-m", "app.data_layer")
    nowhere = "redis://127.0.0.1:1/0"

    def switch(*what: str) -> None:
        said = typed(*cli, "modules", *what, DATABASE_URL=nowhere, REDIS_URL=nowhere).stdout
        listed = re.search(rf"copier update -a {ANSWERS} -d 'modules=\[(.*)\]'", said)
        assert listed, said
        update(project, modules=[name for name in listed[1].split(", ") if name])
        assert conflicts(project) == []

    switch("add", "redis")
    told = asked(project, existing, python)
    assert told.returncode == 1
    assert "pyproject.toml lacks taskiq>=0.13" in told.stdout
    assert ".env.example lacks the line REDIS_PASSWORD=" in told.stdout
    failed = typed(*cli, "check", "--only", "DL-UP", check=False)
    assert "DL-UP-07" in failed.stdout
    assert failed.returncode == 1
    follow(project, existing)
    assert asked(project, existing, python).returncode == 0
    assert typed(*cli, "check", "--only", "DL-UP").returncode == 0
    append(project / "app/data_layer/redis/keys.py", "# Ours.")
    commit_all(project, "Follow the page")
    remove = (*cli, "modules", "remove", "redis")
    edits = typed(*remove, check=False, DATABASE_URL=nowhere, REDIS_URL=nowhere)
    undo = re.search(r"`git (checkout \w+ -- app/data_layer/redis/keys\.py)`", edits.stdout)
    assert undo, edits.stdout
    git(*undo[1].split(), cwd=project)
    commit_all(project, "Without our edit")
    switch("remove", "redis")
    assert asked(project, existing, python).returncode == 0
    after = files(project)
    changed = {path for path in before.keys() | after if before.get(path) != after.get(path)}
    assert [path for path in changed if not NAMED.fullmatch(path)] == []
    for name, package in (("scope", "project"), ("source_folder", "src"), ("package_name", "api")):
        with pytest.raises(ValueError, match="Keep the answer"):
            update(project, **{name: package})
    assert dirty(project) == ""


def test_a_history_goes_on_after_an_adoption(
    current: Path, tmp_path: Path, environment: Path, embedded: str, python: Path
) -> None:
    """On a server: their history, their data, the rules from here on, and the layer's own tests."""
    project = PLAIN.write(tmp_path / "project")
    url = database(embedded, "theirs")
    ini = project / "alembic.ini"
    own = url.replace("postgresql:", "postgresql+psycopg:")
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", own))
    typed = Typed(project, environment)
    typed("alembic", "upgrade", "head")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO customers (name) VALUES ('Ada')")

    adopt(current, project, PLAIN)
    follow(project, PLAIN)
    main = project / "src/shop/main.py"
    append(main, "\nfrom shop.data_layer.http import install\n\ninstall(app)")
    assert asked(project, PLAIN, python).returncode == 0
    typed("alembic", "upgrade", "head", DATABASE_URL=url)
    typed("alembic", "check", DATABASE_URL=url)
    cli = ("python", "-m", "shop.data_layer")
    judged = typed(*cli, "migrations", "lint").stdout
    assert "Migrations judged: 0" in judged

    append(project / "src/shop/models.py", "    city: Mapped[str | None]")
    typed("alembic", "revision", "--autogenerate", "-m", "add the city", DATABASE_URL=url)
    assert "Migrations judged: 1. None breaks a rule." in typed(*cli, "migrations", "lint").stdout
    typed("alembic", "upgrade", "head", DATABASE_URL=url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name, city FROM customers").fetchall() == [("Ada", None)]
    typed("pytest", "tests", "-p", "no:cacheprovider", TEST_DATABASE_URL=embedded)

    [added] = (project / "migrations/versions").glob("*_add_the_city.py")
    added.write_text(
        added.read_text().replace(
            "sa.Column('city', sa.String(), nullable=True)",
            "sa.Column('city', sa.String(), nullable=False)",
        )
    )
    hazard = typed(*cli, "migrations", "lint", check=False)
    assert f"{added.name}: adding-required-field" in hazard.stdout
    assert BASELINE not in hazard.stdout


def test_what_stands_in_the_way_is_not_overwritten(template: Path, tmp_path: Path) -> None:
    existing = OTHERS["flat, without migrations"]
    for folder in ("app/data_layer", "tests/data_layer", "docs/data-layer", "ops/postgres"):
        project = existing.write(tmp_path / folder.replace("/", "-"))
        append(project / folder / "theirs.txt", "Theirs.")
        before = files(project)
        with pytest.raises(ValueError, match=f"{folder}/ is here already"):
            adopt_from_folder(template, project, existing)
        assert files(project) == before


def adopt_from_folder(template: Path, project: Path, existing: Existing) -> None:
    render(
        template,
        project,
        scope="layer",
        source_folder=existing.sources,
        package_name=existing.package,
    )


def test_the_package_must_be_there_and_one_layer_is_enough(current: Path, tmp_path: Path) -> None:
    project = PLAIN.write(tmp_path / "project")
    with pytest.raises(ValueError, match="There is no package src/shops in this project"):
        adopt(current, project, Existing("shops"))
    with pytest.raises(ValueError, match="is not a path below the project"):
        adopt(current, project, Existing("shop", sources="../src"))
    adopt(current, project, PLAIN)
    (project / "src/other").mkdir()
    append(project / "src/other/__init__.py", "")
    with pytest.raises(ValueError, match="The package of this project is shop"):
        adopt(current, project, Existing("other"))
    made = render(current, tmp_path / "made", http_api=False, example=False)
    with pytest.raises(ValueError, match="there is nothing to adopt"):
        adopt(current, made, Existing("my_project"))


@pytest.mark.parametrize(
    "modules", [(), *((module,) for module in MODULES), tuple(MODULES)], ids="-".join
)
def test_the_page_asks_for_what_a_new_project_has(
    template: Path, tmp_path: Path, modules: tuple[str, ...]
) -> None:
    """Dependencies, without the tools that check code; settings; what git ignores."""
    new = render(template, tmp_path / "new", modules=list(modules), example=False)
    declared = tomllib.loads((new / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {*declared["project"]["dependencies"]}
    # Whoever wants traces reads of them elsewhere.
    del declared["dependency-groups"]["tracing"]
    for listed in declared["dependency-groups"].values():
        wanted |= {one for one in listed if isinstance(one, str)}
    tools = re.compile(r"(mypy|prek|ruff|types-psutil|pytest-xdist)\b")
    adopted = render(
        template,
        tmp_path / "adopted",
        scope="layer",
        package_name="my_project",
        modules=list(modules),
    )
    page = (adopted / "docs/data-layer/adopt.md").read_text(encoding="utf-8")
    added = "\n".join(re.findall(r"^uv add .*$", page, re.MULTILINE))
    assert set(re.findall(r'"([^"]+)"', added)) == {one for one in wanted if not tools.match(one)}

    def block(name: str) -> set[str]:
        found = re.search(rf"^```\w+ {re.escape(name)}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        assert found
        return set(found[1].splitlines()) - {""}

    def lines(name: str, pattern: str) -> set[str]:
        return set(re.findall(pattern, (new / name).read_text(encoding="utf-8"), re.MULTILINE))

    # Who adopts has a deployment, and the monitoring of it.
    theirs = {"MONITORING_PASSWORD=", "GRAFANA_PASSWORD="}
    assert block(".env.example") == lines(".env.example", r"^[A-Z_]+=.*$") - theirs
    assert block(".gitignore") == lines(".gitignore", r"^(?:!?/.*|!?\.env.*)$")


def test_the_command_is_linted_and_typed_like_the_layer(
    everything: Path, template: Path, environment: Path, tmp_path: Path
) -> None:
    """No project that has a type checker's settings of ours has it, so one is made."""
    project = tmp_path / "project"
    shutil.copytree(everything, project)
    layer = "{{ source_folder }}/{{ package_name }}/data_layer"
    shutil.copytree(
        template / "template" / layer / "adoption", project / "src/my_project/data_layer/adoption"
    )
    typed = Typed(project, environment)
    adoption = "src/my_project/data_layer/adoption"
    typed("ruff", "check", "--no-cache", adoption)
    typed("ruff", "format", "--no-cache", "--check", adoption)
    check_types(project, environment, adoption)
