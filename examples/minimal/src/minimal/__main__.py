"""The command line of this project: the data layer's commands and what you add to them.

Every command waits for what this file imports, so let it name your modules and import few.
"""

from .data_layer.cli import create_cli

cli = create_cli()

if __name__ == "__main__":
    cli()
