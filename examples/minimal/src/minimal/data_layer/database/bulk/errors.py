"""What a bulk operation raises."""

from ...errors import DataLayerError


class RowRejected(DataLayerError):
    """A row does not fit its table; nothing of the load is written.

    Attributes:
        row: which row of the input, counted from 1; None when the server did not say.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class UnknownColumn(DataLayerError):
    """A column was named that the table does not have, or that can't be written."""
