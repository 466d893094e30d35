"""What the programs of this project say, as text or as JSON, and the id of what a line is about.

The id comes with a request, or is made for it. It goes with the jobs that the request sends, the
sagas that it starts and the messages that it publishes, so that one search finds all of them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pydantic_settings import SettingsConfigDict

from .settings import Settings, load

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# uvicorn gives each a handler of its own.
_SERVERS = ("uvicorn", "uvicorn.access", "uvicorn.error")

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class LogSettings(Settings):
    """`LOG_*`: what is said, and how.

    Attributes:
        format: `text` for a person, or `json`: an object a line, for what collects and searches.
        level: the least that is said.
    """

    model_config = SettingsConfigDict(env_prefix="LOG_")

    format: Literal["text", "json"] = "text"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def configure(*, text: bool = True) -> None:
    """Let this process log as `LOG_*` says, on standard error.

    Args:
        text: where False, nothing changes for the format `text`: a web server has one of its own.

    Raises:
        InvalidSettings: a setting is wrong.
    """
    settings = load(LogSettings)
    if settings.format == "text":
        if text:
            logging.basicConfig(level=settings.level, format=_TEXT)
        return
    # Who wants text need not wait for it.
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
    logging.basicConfig(level=settings.level, handlers=[handler], force=True)
    for name in _SERVERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def request_id() -> str | None:
    """The id of the request that is worked on, such as to tell a service that is called for it."""
    return _request_id.get()


def begin(identifier: str) -> None:
    """Let all that this task does from now on be about the request with this id."""
    _request_id.set(identifier)


@contextmanager
def about(identifier: str) -> Iterator[None]:
    """Let the block be about the request with this id."""
    token = _request_id.set(identifier)
    try:
        yield
    finally:
        _request_id.reset(token)


def _with_request_id(record: logging.LogRecord) -> bool:
    if (identifier := _request_id.get()) is not None:
        record.request_id = identifier
    return True
