"""Projects that were there before the layer, and a person who follows the page of adoption."""

import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import copier

from tests.projects import clean_environment, commit_all, run, uv

ANSWERS = ".copier-answers.data-layer.yml"
BASELINE = "1975ea83b712"

PYPROJECT = """\
[project]
name = "{name}"
version = "3.1.4"
requires-python = ">=3.11"
dependencies = ["fastapi>=0.115", "sqlalchemy>=2.0"]

[tool.ruff]
line-length = 88

[tool.pytest.ini_options]
addopts = "-q"
"""
MODELS = '''\
"""Tables of this project, on a base of its own."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Model(DeclarativeBase):
    """Its tables."""


class Customer(Model):
    """Who buys."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
'''
# As `alembic init` writes it, without its comments.
ENVIRONMENT = """\
from logging.config import fileConfig

from alembic import context
from sqlalchemy import engine_from_config, pool

from {package}.models import Model

config = context.config
fileConfig(config.config_file_name)
target_metadata = Model.metadata


def run_migrations_offline():
    context.configure(url=config.get_main_option("sqlalchemy.url"), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    connectable = engine_from_config(config.get_section("alembic"), poolclass=pool.NullPool)
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""
# Its upgrade asks the database, which no script can.
REVISION = '''\
"""initial tables"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = None


def upgrade():
    if op.get_bind().scalar(sa.text("SELECT 1")) == 1:
        op.create_table(
            "customers",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.String, nullable=False, unique=True),
        )


def downgrade():
    pass
'''
INI = """\
[alembic]
script_location = {location}
prepend_sys_path = .
# file_template = %%(rev)s_%%(slug)s
timezone =
sqlalchemy.url = driver://user:pass@localhost/dbname

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = WARNING
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(message)s
"""


@dataclass
class Existing:
    """A project of somebody else.

    Attributes:
        folder: the project within its repository.
        sources: the folder of its packages, within the project.
        migrations: the folder of env.py, within the project; empty where there are none.
        files: further files of the repository, by their paths.
    """

    package: str
    folder: str = "."
    sources: str = "src"
    migrations: str = "migrations"
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, repository: Path) -> Path:
        """Make the repository; returns the project in it."""
        project = repository / self.folder
        package = f"{self.sources}/{self.package}"
        files = {
            "pyproject.toml": PYPROJECT.format(name=self.package.replace("_", "-")),
            f"{package}/__init__.py": "",
            f"{package}/models.py": MODELS,
            f"{package}/main.py": "from fastapi import FastAPI\n\napp = FastAPI()\n",
            "tests/test_ours.py": "def test_ours():\n    assert True\n",
            ".gitignore": ".venv/\n__pycache__/\n",
        }
        if self.migrations:
            files |= {
                "alembic.ini": INI.format(location=self.migrations),
                f"{self.migrations}/env.py": ENVIRONMENT.format(package=self.package),
                f"{self.migrations}/script.py.mako": MAKO,
                f"{self.migrations}/versions/{BASELINE}_initial_tables.py": REVISION.format(
                    revision=BASELINE
                ),
            }
        placed = {f"{self.folder}/{path}": text for path, text in files.items()} | {**self.files}
        for path, text in placed.items():
            (repository / path).parent.mkdir(parents=True, exist_ok=True)
            (repository / path).write_text(text, encoding="utf-8")
        commit_all(repository, "Years of work")
        return project


MAKO = '''\
"""${message}"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


def adopt(template: Path, project: Path, existing: Existing, **answers: object) -> None:
    """`copier copy -a .copier-answers.data-layer.yml -d scope=layer …`."""
    data = {
        "project_name": "Their Project",
        "scope": "layer",
        "source_folder": existing.sources,
        "package_name": existing.package,
    }
    copier.run_copy(
        str(template),
        project,
        answers_file=ANSWERS,
        data=data | answers,
        defaults=True,
        quiet=True,
        unsafe=False,
        vcs_ref="HEAD",
    )


def asked(project: Path, existing: Existing, python: Path) -> subprocess.CompletedProcess[str]:
    """What `python -m <package>.data_layer adopt` says."""
    return run(
        *(python, "-m", f"{existing.package}.data_layer", "adopt"),
        cwd=project,
        env=clean_environment(PYTHONPATH=project / existing.sources),
        check=False,
    )


def follow(project: Path, existing: Existing) -> None:
    """Copy every block of the page to where it says."""
    page = (project / "docs/data-layer/adopt.md").read_text(encoding="utf-8")
    for language, name, text in re.findall(
        r"^```(\w+) ?(\S*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    ):
        if language == "sh" and not name:
            _type(project, text)
        elif language in ("toml", "ini"):
            _merge(project / name, text)
        elif name == "env.py":
            if existing.migrations:
                file = project / existing.migrations / name
                kept = file.read_text(encoding="utf-8").partition("def run_migrations")[0]
                file.write_text(kept + text, encoding="utf-8")
        elif name == "compose.yaml":
            if (project / name).is_file() and "ops/postgres" not in (project / name).read_text():
                _append(project / name, text)
        elif name:
            given = _read(project / name).splitlines()
            _append(project / name, "".join(f"{x}\n" for x in text.splitlines() if x not in given))
    if existing.migrations:
        _merge(project / "alembic.ini", f"[alembic]\nmigrations_baseline = {BASELINE}\n")


def _type(project: Path, text: str) -> None:
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["uv", "add"]:
            run(uv(), "add", "--quiet", "--frozen", *words[2:], cwd=project)
        elif words[:1] == ["touch"]:
            (project / words[1]).touch()


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _append(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_read(file) + text, encoding="utf-8")


def _merge(file: Path, text: str) -> None:
    """Put the keys of a block below their table; a key that is there gives way."""
    for header, keys in re.findall(r"^(\[.*\])\n((?:.+\n?)*)", text, re.MULTILINE) or [("", text)]:
        given = _read(file)
        if f"{header}\n" not in given or header.startswith("[["):
            if keys not in given:
                _append(file, f"\n{header}\n{keys}" if header else keys)
            continue
        before, _, after = given.partition(f"{header}\n") if header else ("", "", given)
        for key in keys.splitlines():
            name = key.partition(" =")[0]
            after = re.sub(rf"^{re.escape(name)} =.*\n", "", after, count=1, flags=re.MULTILINE)
        file.write_text(f"{before}{header}\n{keys}{after}", encoding="utf-8")
