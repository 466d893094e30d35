"""Logs as text or as JSON, with the id of the request that a line is about.

The id comes with a request, or is made for it. It goes with the jobs that the request sends, the
sagas that it starts and the messages that it publishes, so that one search finds all of them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pydantic_settings import SettingsConfigDict

from .settings import Settings, load

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# uvicorn gives each of these loggers a handler of its own.
_SERVERS = ("uvicorn", "uvicorn.access", "uvicorn.error")

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class LogSettings(Settings):
    """`JSON_LOGS`; a project that adopts the layer may use a `LOG_FORMAT` of its own.

    Attributes:
        logs: write each line as a JSON object, for a collector of logs, and not as text.
    """

    model_config = SettingsConfigDict(env_prefix="JSON_")

    logs: bool = False


def configure(*, text: bool = True) -> None:
    """Let this process log from INFO on to standard error, as `JSON_LOGS` says.

    Args:
        text: if False, nothing changes without `JSON_LOGS`: a web server has its own text format.

    Raises:
        InvalidSettings: a setting is wrong.
    """
    if not load(LogSettings).logs:
        if text:
            logging.basicConfig(level=logging.INFO, format=_TEXT)
        return
    # Imported late: logs as text don't need it.
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            ("levelname", "name", "message"),
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
    )
    handler.addFilter(_with_request_id)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _SERVERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def request_id() -> str | None:
    """The id of the current request, for example to pass it to a service that you call."""
    return _request_id.get()


def begin(identifier: str) -> None:
    """From now on, what this task logs, sends, starts and publishes has this id."""
    _request_id.set(identifier)


@contextmanager
def about(identifier: str) -> Iterator[None]:
    """What the block logs, sends, starts and publishes has this id."""
    token = _request_id.set(identifier)
    try:
        yield
    finally:
        _request_id.reset(token)


def _with_request_id(record: logging.LogRecord) -> bool:
    if (identifier := _request_id.get()) is not None:
        record.request_id = identifier
    return True
