"""The safety lint: squawk over the SQL of the migrations (DL-MIG-06)."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from .errors import MigrationError
from .rules import Problem, baseline

MISSING = "squawk-cli and alembic-squawk are not installed; run `uv sync --group lint`."


def find_squawk() -> str | None:
    """The path of squawk; None when squawk or alembic-squawk is not installed."""
    if importlib.util.find_spec("alembic_squawk") is None:
        return None
    return shutil.which("squawk", path=_path())


def hazards_in(files: Sequence[Path], root: Path) -> list[Problem]:
    """What squawk finds in the SQL of the given migrations.

    Args:
        files: migration files of the project.
        root: of the project, where `.squawk.toml` lies.

    Raises:
        MigrationError: when the tools are not installed, or can't read the migrations.
    """
    if not files:
        return []
    squawk = find_squawk()
    if squawk is None:
        raise MigrationError(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        scripts = Path(folder, "sql")
        config = Config(root / "alembic.ini")
        # Revisions before the baseline may query the database; a script has no database.
        revisions = f"{baseline(config) or 'base'}:head"
        write = ["-m", "alembic_squawk.cli", "--revisions", revisions, "--out-dir", str(scripts)]
        _run([sys.executable, *write], root)
        for revision in ScriptDirectory.from_config(config).walk_revisions():
            # alembic-squawk names a script so where the folder is not migrations/versions.
            if (script := scripts / f"{revision.revision}.sql").exists():
                script.rename(scripts / f"{Path(revision.path).stem}.sql")
        chosen = [scripts / f"{file.stem}.sql" for file in files]
        chosen = [script for script in chosen if script.exists()]
        if not chosen:
            return []
        options = ["--config", str(root / ".squawk.toml"), "--reporter", "json"]
        output = _run([squawk, *options, *map(str, chosen)], root, fine=(0, 1))
        try:
            violations = json.loads(output or "[]")
        except ValueError:
            raise MigrationError(f"squawk can't read the migrations: {output.strip()}") from None
        return [_problem(violation) for violation in violations]


def _problem(violation: dict[str, str | int | None]) -> Problem:
    script = Path(str(violation["file"]))
    lines = script.read_text(encoding="utf-8").splitlines()
    statement = lines[int(violation["line"] or 0)].strip()
    advice = " ".join(str(part) for part in (violation["message"], violation["help"]) if part)
    rule = violation["rule_name"]
    return Problem("DL-MIG-06", f"{script.stem}.py: {rule}: {advice}\n    {statement}")


def _path() -> str:
    # The tools stand beside this interpreter, whether or not its environment is activated.
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _run(command: list[str], root: Path, fine: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PATH": _path()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in fine:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise MigrationError(f"The lint can't read the migrations: {lines[-1] if lines else ''}")
    return done.stdout
