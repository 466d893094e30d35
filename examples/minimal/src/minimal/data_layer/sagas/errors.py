"""What goes wrong with sagas and the outbox; each message says what to do."""

from ..errors import DataLayerError


class SagaError(DataLayerError):
    """The root of the errors of this part."""


class InvalidSaga(SagaError):
    """A saga, a step or a topic is declared wrongly, or its code does not fit the rows."""


class KeyReused(SagaError):
    """The key has started a saga with other arguments."""


class UnknownSaga(SagaError):
    """There is no such saga, or its state does not allow what was asked."""


class Refused(Exception):
    """A step raises this when it surely had no effect and trying again does not help.

    The saga is compensated, and the message is kept as its reason. Don't raise it if nobody knows
    whether the service did the work, as after a timeout or a 500.
    """


class LeaseLost(Exception):
    """Another worker has this saga; nothing of this transaction is written."""
