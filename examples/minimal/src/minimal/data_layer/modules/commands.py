"""The commands `modules add` and `modules remove`: what to do before and after the update."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import DataLayerError
from ..git import answer
from ..project import COMMAND, PACKAGE, root
from . import source, update
from .remains import Remains

Name = Annotated[str, typer.Argument(help=f"One of {', '.join(source.MODULES)}.")]


def modules_commands(remains: Callable[[str], Coroutine[Any, Any, list[Remains]]]) -> typer.Typer:
    """The command group.

    Args:
        remains: what a module leaves behind, by its name.
    """
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

    @group.command()
    def add(name: Name) -> None:
        """Say what to type to switch a module on; the others stay."""
        on = _on(name)
        if name in on:
            raise DataLayerError(f"{name} is switched on already; `uv run {COMMAND} next` goes on.")
        _type(*(module for module in source.MODULES if module in {*on, name}))
        typer.echo(f"  uv run {COMMAND} next    says what {name} needs from you")

    @group.command()
    def remove(name: Name) -> None:
        """Say what a module that is to go would break or lose; then, what to type.

        The exit code is 1 while the update would break or lose something.
        """
        on = _on(name)
        if name not in on:
            raise DataLayerError(f"{name} is switched off already.")
        project = root()
        before = [*_importers(project, name), *_edits(project, name)]
        for sentence in before:
            typer.echo(f"- {sentence}")
        living = asyncio.run(remains(name))
        for one in living:
            if one.lost:
                before.append(one.sentence)
                typer.echo(f"- {one.sentence}")
        if before:
            typer.echo(f"{len(before)} of these to do before {name} can be switched off.")
            raise typer.Exit(1)
        _type(*(module for module in on if module != name))
        typer.echo(f"  uv run {COMMAND} check")
        for one in living:
            typer.echo(f"- {one.sentence}")

    return group


def _on(name: str) -> list[str]:
    if name not in source.MODULES:
        raise DataLayerError(f"There is no module {name}; name one of {', '.join(source.MODULES)}.")
    return [module for module in source.MODULES if source.is_on(module)]


def _type(*modules: str) -> None:
    """Print the whole list of modules: an update removes the modules that it does not name."""
    typer.echo(f"Commit first, then type:\n  {update.UPDATE} -d 'modules=[{', '.join(modules)}]'")
    typer.echo("  uv sync")


def _importers(project: Path, name: str) -> list[str]:
    """A sentence for each file that imports the module, or imports a folder with its name.

    A folder that has the module's name and imports the module gets one sentence as a whole.
    """
    found = [
        one
        for one in source.imports(project)
        if not one.path.startswith(f"tests/data_layer/{name}/")
    ]
    gone = {f"{PACKAGE}.data_layer.{name}"}
    gone |= {
        source.dotted(project, folder)
        for one in found
        if one.of(*gone) and (folder := _folder(one.path, name))
    }
    sentences: dict[str, str] = {}
    for one in found:
        if one.of(*gone):
            folder = _folder(one.path, name)
            sentences.setdefault(
                folder or one.path,
                f"{folder}/ stands on data_layer.{name}: delete the folder."
                if folder
                else f"{one.path}:{one.line} imports {one.name}: delete the file, or that use.",
            )
    return list(sentences.values())


def _folder(path: str, name: str) -> str:
    """The folder of that name that a file is in; empty when it is in none."""
    before, between, _ = path.rpartition(f"/{name}/")
    return f"{before}/{name}" if between else ""


def _edits(project: Path, name: str) -> Iterator[str]:
    """A sentence for each file of the user, or managed file with edits, that the update removes."""
    layer = (Path(source.packages(project)) / PACKAGE / source.LAYER.name).as_posix()
    owned = (
        *(f"{layer}/{name}", f"{layer}/devservers/{name}.py", f"tests/data_layer/{name}"),
        *(f"ops/{name}", f"docs/data-layer/{name}.md", f"docs/data-layer/{name}-*.md"),
    )
    base = answer(project, "log", "-1", "--format=%h", "--", update.ANSWERS).strip()
    if not base:
        raise DataLayerError(f"{update.ANSWERS} is in no commit of git; commit, then ask again.")
    listing = ("--relative", "--no-renames", "--name-status", "-z")
    told = answer(project, "diff", *listing, base, "--", *owned)
    fields = iter(told.split("\0"))
    for status, path in zip(fields, fields, strict=False):
        if status == "M":
            yield (
                f"{path} holds edits since {base}, which would go: move them into a file of "
                f"yours, then `git checkout {base} -- {path}`."
            )
        elif status == "A":
            yield f"{path} is yours, in a folder that would go: move it."
