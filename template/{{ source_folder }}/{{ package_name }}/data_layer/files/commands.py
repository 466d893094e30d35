"""The commands `files …`."""

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from .. import checklist
from ..atomic import leftovers
from ..project import COMMAND, root
from ..settings import load
from . import sizes as guidelines
from .checks import files_checks
from .coverage import gaps, series_names
from .downloads import Download, fetch
from .errors import FilesError
from .manifest import Manifest
from .remote import Remote, remote_cache
from .settings import FilesSettings
from .sizes import readable
from .tree import README, DataTree, Folder, printable

SCRIPTS = """\
# Scripts

How data get into the data tree and what is made of them. What to call stands in
[files.md](../docs/data-layer/files.md): `fetch`, then `batches` and `write`.
"""

DOWNLOAD = "https://example.org/prices.csv raw/prices.csv --source example --licence CC0-1.0"


EXAMPLES = {
    "ls processed": "the series, their ranges, gaps and sizes",
    "check": "the checks of the tree, every recorded hash included",
    f"download {DOWNLOAD}": "once, however often it is typed",
    "push raw/prices.csv": "to the remote, under the same path",
    "prune-cache --dry-run": "what could be deleted",
}


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FilesError(f"{error.filename or root()}: {error.strerror or error}.") from None


files_commands = typer.Typer(
    cls=_Group,
    epilog="**Examples**\n\n"
    + "\n\n".join(f"`{COMMAND} files {command}` — {what}" for command, what in EXAMPLES.items()),
    rich_markup_mode="markdown",
    no_args_is_help=True,
)

InTree = Annotated[
    list[str], typer.Argument(metavar="PATH…", help="Paths within the tree, as raw/prices.csv.")
]


@files_commands.command()
def init() -> None:
    """Create what is missing: the folders of the tree, their READMEs, and that of scripts/."""
    tree = DataTree.of_settings()
    created = tree.create()
    for folder in created:
        typer.echo(f"Made {tree.folder(folder)}.")
    written = tree.write_readmes()
    scripts = root() / "scripts" / README
    if not scripts.exists():
        scripts.parent.mkdir(exist_ok=True)
        scripts.write_text(SCRIPTS, encoding="utf-8", newline="\n")
        written.append(scripts)
    for path in written:
        typer.echo(f"Wrote {path}.")
    if not created and not written:
        typer.echo(f"{tree.root} is complete.")


@files_commands.command()
def ls(
    folders: Annotated[
        list[Folder] | None, typer.Argument(metavar="FOLDER…", help="Only these of the five.")
    ] = None,
) -> None:
    """Say what is there: series with their ranges, gaps and sizes, and other files."""
    tree = DataTree.of_settings()
    table = Table("folder")
    table.add_column("what", overflow="fold")
    for column in ("files", "from", "to", "missing", "size"):
        table.add_column(column)
    for folder in folders or list(Folder):
        for what, paths in _by_series(tree, folder):
            names = series_names(paths)
            missing = [f"{gap.start} to {gap.end}" for gap in gaps(names)]
            if len(missing) > 3:
                missing[3:] = [f"and {len(missing) - 3} gaps more"]
            table.add_row(
                folder,
                Text(printable(what)),  # brackets in a name are not markup
                f"{len(paths):,}",
                str(min(name.start for name in names)) if names else "",
                str(max(name.end for name in names)) if names else "",
                "\n".join(missing),
                readable(sum(path.stat().st_size for path in paths)),
            )
    if not table.rows:
        typer.echo(f"There is no file in {tree.root}.")
        return
    Console().print(table)


def _by_series(tree: DataTree, folder: Folder) -> list[tuple[str, list[Path]]]:
    """The files of each series of a folder, then each other file by itself."""
    series: dict[str, list[Path]] = {}
    others = []
    for path in tree.files(folder):
        if names := series_names([path]):
            series.setdefault("_".join(names[0].series), []).append(path)
        else:
            others.append((path.relative_to(tree.folder(folder)).as_posix(), [path]))
    return sorted(series.items()) + others


@files_commands.command()
def check() -> None:
    """Ask the checks of the tree, with the hash of every recorded file; exits with 1 if one fails.

    `check --only DL-FI` asks the same, but reads only the files that changed since.
    """
    report = asyncio.run(checklist.run(files_checks(every_hash=True), timeout=86_400))
    checklist.print_table(report, Console())
    raise typer.Exit(0 if report.ok else 1)


@files_commands.command()
def sizes() -> None:
    """Refuse files that are too large for git, and name them; the commit hook and CI call this."""
    judged = guidelines.judge(root().resolve(), DataTree.of_settings())
    for sentence in (*judged.refused, *judged.suggested):
        typer.echo(sentence)
    if judged.refused:
        raise typer.Exit(1)


@files_commands.command()
def download(
    url: Annotated[str, typer.Argument(help="https://…")],
    path: Annotated[str, typer.Argument(help="Within the tree, as raw/prices.csv.")],
    source: Annotated[str, typer.Option(help="Who publishes it, as data/README.md says.")],
    licence: Annotated[str, typer.Option(help="Under which the data may be used.")],
    sha256: Annotated[str, typer.Option(help="The hash that the file must have.")] = "",
) -> None:
    """Fetch a file once: checked by its hash, recorded in the manifest."""
    entry = fetch(Download(url, path, source, licence, sha256), DataTree.of_settings())
    rows = "" if entry.rows is None else f", {entry.rows:,} rows"
    typer.echo(f"{entry.path}: {readable(entry.size)}{rows}, SHA-256 {entry.sha256}")


@files_commands.command()
def record(
    path: Annotated[str, typer.Argument(help="Within the tree, as raw/prices.csv.")],
    source: Annotated[str, typer.Option(help="Who the data come from, as data/README.md says.")],
    licence: Annotated[str, typer.Option(help="Under which they may be used.")],
) -> None:
    """Record a file that came by another way than `download`."""
    entry = Manifest(DataTree.of_settings()).record(path, source=source, licence=licence)
    typer.echo(f"{entry.path}: SHA-256 {entry.sha256}")


@files_commands.command()
def forget(paths: InTree) -> None:
    """Drop files from the manifest, as after deleting them on purpose."""
    Manifest(DataTree.of_settings()).forget(*paths)


@files_commands.command()
def push(paths: InTree) -> None:
    """Upload files to the remote, under the same paths."""
    remote = Remote.of_settings()
    for path in paths:
        typer.echo(f"{path}: {readable(remote.push(path))} pushed.")


@files_commands.command()
def pull(paths: InTree) -> None:
    """Download files from the remote into the tree."""
    remote = Remote.of_settings()
    for path in paths:
        typer.echo(f"{path}: {readable(remote.pull(path).stat().st_size)} pulled.")


@files_commands.command()
def prune_cache(
    everything: Annotated[
        bool, typer.Option("--all", help="Delete all of the cache that is not in use.")
    ] = False,
    days: Annotated[
        float, typer.Option(min=0, help="Keep temporary files that changed within so many days.")
    ] = 7,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
) -> None:
    """Clean up: copies of remote files above the limit, old temporary files, unfinished writes.

    Everything in data/cache/ can be made again. Copies that a process reads stay.
    """
    settings = load(FilesSettings)
    tree = DataTree.of_settings(settings)
    cache = remote_cache(tree, settings)
    limit = 0 if everything else int(settings.cache_size)
    oldest = time.time() - (0 if everything else days * 86_400)
    going = [
        *leftovers(tree.root),
        *(
            path
            for path in tree.files(Folder.CACHE)
            if not path.is_relative_to(cache.folder) and path.stat().st_mtime < oldest
        ),
    ]
    for path in going:
        typer.echo(f"{tree.root.name}/{printable(path.relative_to(tree.root).as_posix())}")
    freed = sum(path.stat().st_size for path in going)
    if dry_run:
        over = max(0, cache.used() - limit)
        typer.echo(
            f"{len(going)} files and {readable(over)} of copies, {readable(freed + over)} in all."
        )
        return
    for path in going:
        path.unlink(missing_ok=True)
    dropped, bytes_ = cache.evict(limit)
    typer.echo(
        f"Deleted {len(going)} files and {dropped} copies, {readable(freed + bytes_)} in all."
    )
