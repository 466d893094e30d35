"""ETag and If-Match: a write says which version it means (standard: optimistic locking)."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from .problems import MalformedPrecondition, PreconditionRequired

# The bound keeps the number inside PostgreSQL's bigint.
_ETAG = re.compile(r'"([1-9][0-9]{0,17})"')


def set_etag(response: Response, version: int) -> None:
    """State the version of the entity in `response`; the client sends it back in If-Match."""
    response.headers["ETag"] = f'"{version}"'


async def expected_version(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(description='The ETag of the version that the change is meant for, such as `"3"`.'),
    ] = None,
) -> int:
    """The version in If-Match: one strong entity tag, as the ETag of an earlier answer gave it.

    `*`, lists and weak tags are refused: each would let a write pass without saying which version
    it saw.

    Raises:
        PreconditionRequired: 428, the header is missing.
        MalformedPrecondition: 400, the header is anything but one ETag of this API.
    """
    # All lines of the header, since FastAPI hands over only the first.
    tags = request.headers.getlist("if-match")
    if if_match is None or not tags:
        raise PreconditionRequired(
            "This change needs the header If-Match with the ETag of the version it is meant for;"
            " GET the resource to learn it."
        )
    match = _ETAG.fullmatch(tags[0].strip(" \t"))
    if len(tags) > 1 or match is None:
        raise MalformedPrecondition(
            'If-Match must be exactly one ETag that this API gave, such as "3", with the quotes;'
            " *, lists and weak tags are refused."
        )
    return int(match[1])


ExpectedVersion = Annotated[int, Depends(expected_version)]
"""The dependency of every route that changes an entity with a version."""
