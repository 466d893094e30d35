"""The command line of a project that adds nothing to it; `data_layer_cli.py` is the place to."""

from ..cli import create_cli

cli = create_cli()
