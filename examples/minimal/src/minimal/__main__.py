"""The command line of this project: the data layer's commands and what you add to them.

Every command waits until the imports of this file are done. So import few modules here, and give
`create_cli` the names of the others.
"""

from .data_layer.cli import create_cli

cli = create_cli()

if __name__ == "__main__":
    cli()
