"""Requests to the exchange: over HTTP, each with its idempotency key."""

import asyncio
import json
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit
from uuid import UUID

from pydantic_settings import SettingsConfigDict

from ...data_layer.sagas import Refused
from ...data_layer.settings import Settings, load

TIMEOUT = 5.0


class ExchangeSettings(Settings):
    """`EXCHANGE_URL`: where the exchange is, `http://…`."""

    model_config = SettingsConfigDict(env_prefix="EXCHANGE_")

    url: str


async def post(what: str, key: UUID, body: object = None) -> str:
    """Ask the exchange, with a key by which it recognizes a repeated request; returns its answer.

    Raises:
        Refused: the exchange did nothing.
        OSError: nobody knows what the exchange did.
    """
    return await asyncio.to_thread(_post, what, key, body)


def _post(what: str, key: UUID, body: object) -> str:
    headers = {"Idempotency-Key": str(key), "Content-Type": "application/json"}
    address = urlsplit(load(ExchangeSettings).url).netloc
    with closing(HTTPConnection(address, timeout=TIMEOUT)) as connection:
        connection.request("POST", f"/{what}", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    if answer.status == 409:
        raise Refused(f"the exchange refuses: {text}")
    if answer.status != 200:
        raise OSError(f"the exchange answers {answer.status}")
    return text
