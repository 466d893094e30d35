"""What jobs returned, for as long as somebody may ask."""

import asyncio
from typing import Any

from taskiq import AsyncResultBackend, TaskiqResult
from taskiq.exceptions import ResultGetError
from taskiq.serializers import JSONSerializer

from ..connection import Client
from .broker import QueueKeys


class Results(AsyncResultBackend[Any]):
    """One key with a time to live for each job; JSON, so that reading one runs no code."""

    def __init__(
        self, client: Client, keys: QueueKeys, places: asyncio.Semaphore, *, ttl: int
    ) -> None:
        self._client = client
        self._places = places
        self._keys = keys
        self._ttl = ttl
        self._serializer = JSONSerializer()

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Keep the result for the time to live."""
        value = self._serializer.dumpb(result.model_dump(mode="json"))
        await self._client.set(self._keys.result(task_id), value, ex=self._ttl)

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether the job has ended, no longer than the time to live ago."""
        async with self._places:
            return bool(await self._client.exists(self._keys.result(task_id)))

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """The result.

        Raises:
            ResultGetError: the job has not ended, or its result has expired.
        """
        async with self._places:
            value: Any = await self._client.get(self._keys.result(task_id))
        if value is None:
            raise ResultGetError
        return TaskiqResult[Any].model_validate(self._serializer.loadb(value))
