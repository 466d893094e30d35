"""The error of this package, which both command lines print as one line."""

from alembic.util import CommandError

from ...errors import DataLayerError


class MigrationError(DataLayerError, CommandError):
    """A migration can't be made, run or accepted; `alembic` prints the message and no traceback."""
