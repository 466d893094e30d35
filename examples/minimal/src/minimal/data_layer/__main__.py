"""Run the project's command line; where its import fails, print the reason found in the source.

So `python -m <package>.data_layer check` answers even when a file imports a module that is gone,
or when an update has left conflicts in the source.
"""

import sys
from importlib import import_module
from pathlib import Path

from .modules import source, update
from .project import ADOPTED, PACKAGE


def main() -> None:
    """Run the command line of `<package>/__main__.py`.

    A project that adopted the layer has `<package>/data_layer_cli.py` instead, or none.
    """
    if ADOPTED and sys.argv[1:] == ["adopt"]:
        # `adopt` must run before anything is installed.
        raise SystemExit(import_module(".adoption.command", __package__).adopt())
    module = f"{PACKAGE}.__main__"
    if ADOPTED:
        own = (source.LAYER.parent / "data_layer_cli.py").is_file()
        module = f"{PACKAGE}.data_layer_cli" if own else f"{__package__}.adoption.cli"
    try:
        cli = import_module(module).cli
    except Exception:
        project = _project()
        problems = [
            *update.unfinished(project),
            *source.of_another_package(project),
            *source.of_switched_off(project),
        ]
        if not problems:
            raise
        sys.stderr.write("\n".join([*problems, ""]))
        raise SystemExit(2) from None
    cli()


def _project() -> Path:
    above = [folder for folder in source.LAYER.parents if (folder / update.ANSWERS).is_file()]
    return above[0] if above else source.LAYER.parents[2]


if __name__ == "__main__":
    main()
