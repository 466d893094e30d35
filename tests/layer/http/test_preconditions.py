import asyncio

import pytest
from httpx2 import AsyncClient

from .conftest import Note

pytestmark = pytest.mark.standard("DL-TX-04")


async def test_the_etag_is_the_version(client: AsyncClient, note: Note) -> None:
    response = await client.get(f"/notes/{note.id}")
    assert response.status_code == 200
    assert response.headers["etag"] == '"1"'


async def test_a_change_of_the_current_version(client: AsyncClient, note: Note) -> None:
    etag = (await client.get(f"/notes/{note.id}")).headers["etag"]
    changed = await client.put(
        f"/notes/{note.id}", json={"text": "second"}, headers={"If-Match": etag}
    )
    assert changed.status_code == 200
    assert changed.headers["etag"] == '"2"'
    now = await client.get(f"/notes/{note.id}")
    assert (now.headers["etag"], now.json()["text"]) == ('"2"', "second")


async def test_a_change_without_a_version_is_refused(client: AsyncClient, note: Note) -> None:
    response = await client.put(f"/notes/{note.id}", json={"text": "second"})
    assert response.status_code == 428
    assert response.headers["content-type"] == "application/problem+json"
    assert "If-Match" in response.json()["detail"]
    assert (await client.get(f"/notes/{note.id}")).headers["etag"] == '"1"'


@pytest.mark.parametrize(
    "value",
    [
        "*",
        'W/"1"',
        '"1", "2"',
        "1",
        '"0"',
        '"01"',
        '"-1"',
        '"1.0"',
        '"x"',
        '""',
        "",
        '"\u0661"',
        '"99999999999999999999"',
        '"1"\x0b',
    ],
)
async def test_a_malformed_version_is_refused(client: AsyncClient, note: Note, value: str) -> None:
    response = await client.put(
        f"/notes/{note.id}", json={"text": "second"}, headers={b"If-Match": value.encode()}
    )
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:problem-type:malformed-precondition"
    assert (await client.get(f"/notes/{note.id}")).headers["etag"] == '"1"'


async def test_two_lines_of_if_match_are_refused(client: AsyncClient, note: Note) -> None:
    response = await client.put(
        f"/notes/{note.id}",
        json={"text": "second"},
        headers=[("If-Match", '"1"'), ("If-Match", '"2"')],
    )
    assert response.status_code == 400


async def test_of_two_writers_with_one_version_exactly_one_wins(
    client: AsyncClient, note: Note
) -> None:
    responses = await asyncio.gather(
        *(
            client.put(f"/notes/{note.id}", json={"text": text}, headers={"If-Match": '"1"'})
            for text in ("left", "right")
        )
    )
    assert sorted(response.status_code for response in responses) == [200, 409]
    winner, loser = sorted(responses, key=lambda response: response.status_code)
    assert loser.headers["content-type"] == "application/problem+json"
    assert loser.json()["expected_version"] == 1
    assert loser.json()["current_version"] == 2
    now = await client.get(f"/notes/{note.id}")
    assert (now.headers["etag"], now.json()) == ('"2"', winner.json())


async def test_a_row_that_is_not_there_is_not_a_conflict(client: AsyncClient, note: Note) -> None:
    response = await client.put(
        f"/notes/{note.id + 1}", json={"text": "second"}, headers={"If-Match": '"1"'}
    )
    assert response.status_code == 404
