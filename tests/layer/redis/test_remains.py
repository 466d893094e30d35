"""What lives in Redis when the module is to be switched off."""

import pytest

from my_project.data_layer.redis import RedisSettings
from my_project.data_layer.redis.queue import Queue
from my_project.data_layer.redis.remains import remains

from .tasks import write


async def test_jobs_must_be_done_before(
    redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis_settings.url.get_secret_value()
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("REDIS_SERVICE", redis_settings.service)
    monkeypatch.delenv("REDIS_QUEUE_URL", raising=False)
    assert [left.lost for left in await remains()] == [False]
    monkeypatch.setenv("REDIS_QUEUE_URL", url)
    assert [left.lost for left in await remains()] == [False]
    async with Queue.open() as queue:
        await queue.send(write, "folder", "name")

    jobs, expiring = await remains()

    assert jobs.sentence.startswith("The queue holds 1 jobs: ")
    assert jobs.lost
    assert not expiring.lost
