"""Sagas, for work across services that survives every crash, and the outbox."""

from .declarations import Saga, Step, StepCall, Undo, UndoCall
from .errors import InvalidSaga, KeyReused, Refused, SagaError, UnknownSaga
from .outbox import Deliver, Message, Target, Topic, calling, publish, publish_all, run_relay
from .settings import SagaSettings
from .worker import run_worker

__all__ = [
    "Deliver",
    "InvalidSaga",
    "KeyReused",
    "Message",
    "Refused",
    "Saga",
    "SagaError",
    "SagaSettings",
    "Step",
    "StepCall",
    "Target",
    "Topic",
    "Undo",
    "UndoCall",
    "UnknownSaga",
    "calling",
    "publish",
    "publish_all",
    "run_relay",
    "run_worker",
]
