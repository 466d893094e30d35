"""The project's command line; where it can't be imported, what its source says about that.

`python -m <package>.data_layer check` answers when a module is gone that something imports, and
when an update has left conflicts in the source.
"""

import sys
from importlib import import_module

from .modules import source, update


def main() -> None:
    """Run the command line of `<package>/__main__.py`."""
    try:
        cli = import_module(f"{source.LAYER.parent.name}.__main__").cli
    except Exception:
        project = source.LAYER.parents[2]
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


if __name__ == "__main__":
    main()
