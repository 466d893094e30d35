"""What people write into their projects, and an update has to keep."""

from pathlib import Path

from tests.projects import run, uv
from tests.updates.conftest import append


def edit_managed_files(project: Path) -> None:
    """What people add to files that the template manages, where they are used to add it."""
    append(project / ".gitignore", "/invoices/")
    readme = project / "README.md"
    title, _, rest = readme.read_text(encoding="utf-8").partition("\n")
    readme.write_text(f"{title}\n\nOurs, below the title.\n{rest}", encoding="utf-8")
    append(project / ".env.example", "INVOICES_URL=https://example.org")
    append(project / "compose.yaml", "  - ops/invoices/compose.yaml")
    # Names that a sorted list would put everywhere among ours.
    for options in ((), ("--group", "test"), ("--dev",)):
        names = ("aiohttp", "duckdb-engine", "httpx", "pyarrow-hotfix", "uvloop", "zstandard")
        run(uv(), "add", "--quiet", "--frozen", *options, *names, cwd=project)


def edit(project: Path) -> None:
    """A year's work: in those, in the layer's code and in files of their own."""
    edit_managed_files(project)
    append(project / "src/my_project/data_layer/errors.py", "# Ours.")
    append(project / "src/my_project/__main__.py", "# Ours.")
