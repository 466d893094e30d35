"""The error of this module."""

from alembic.util import CommandError

from ..errors import DataLayerError


class TimeSeriesError(DataLayerError, CommandError):
    """A declaration, a migration or a refresh that would not do what it says.

    Raised while `alembic` runs, it is printed as one line without a traceback.
    """
