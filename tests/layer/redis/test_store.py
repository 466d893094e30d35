"""The one door to Redis: it answers, or says in time that it doesn't."""

import pytest

from my_project.data_layer.redis import RedisUnavailable, Store
from tests.data_layer.redis.fixtures import settings_of
from tests.layer.redis.servers import OwnServer


async def test_an_operation_is_answered(store: Store) -> None:
    key = str(store.key("thing", "one"))
    await store.run(lambda redis: redis.set(key, b"1", ex=10))
    assert await store.run(lambda redis: redis.get(key)) == b"1"


async def test_a_server_that_is_down_is_one_sentence(own_redis: OwnServer) -> None:
    own_redis.kill()
    async with Store.open(settings_of(own_redis.url)) as store:
        with pytest.raises(RedisUnavailable, match="REDIS_URL"):
            await store.run(lambda redis: redis.ping())
