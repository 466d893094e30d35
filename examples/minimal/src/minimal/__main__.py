"""The command line of this project: the data layer's commands and what you add to them."""

from .data_layer.cli import create_cli

cli = create_cli()

if __name__ == "__main__":
    cli()
