"""The desk under the load of many clients at once."""

import pytest
from httpx2 import AsyncClient

from tests.market.conftest import Desk
from tests.market.test_routes import add_at_once, placed


@pytest.mark.standard("DL-TX-04")
async def test_two_hundred_changes_at_once_lose_nothing(client: AsyncClient, desk: Desk) -> None:
    path = (await placed(client, desk, quantity=1, limit_price="0.05")).headers["location"]
    assert await add_at_once(client, path, 200, tries_at_once=4) >= 199
    stored = (await client.get(path)).json()
    assert (stored["quantity"], stored["version"], stored["reserved"]) == (201, 201, "10.05")
    account = await client.get(f"/accounts/{desk.alice.id}")
    assert account.json()["cash"] == "989.95"
