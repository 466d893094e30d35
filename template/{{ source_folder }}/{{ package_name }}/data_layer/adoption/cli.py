"""The command line of a project without commands of its own; add those in `data_layer_cli.py`."""

from ..cli import create_cli

cli = create_cli()
