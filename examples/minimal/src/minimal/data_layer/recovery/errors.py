"""What goes wrong with backups and restores."""

from ..errors import DataLayerError


class RecoveryError(DataLayerError):
    """A backup, a restore or a drill can't be done; the message says why and what to do."""
