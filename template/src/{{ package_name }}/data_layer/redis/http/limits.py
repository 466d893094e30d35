"""Rate limits on routes: the standard headers, 429 as a problem."""

import math
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.requests import HTTPConnection
from fastapi_problem.error import StatusProblem

from ...http.problems import Unavailable
from ..limits import Decision, Limit, Limiter


class QuotaExceeded(StatusProblem):
    """429: the client has used its quota; Retry-After says in how many seconds to ask again."""

    type_ = "quota-exceeded"
    title = "Quota exceeded"
    status = 429


async def limiter_of(connection: HTTPConnection) -> Limiter:
    """The limiter that the application opened when it started."""
    limiter: Limiter = connection.app.state.limiter
    return limiter


LimiterDependency = Annotated[Limiter, Depends(limiter_of)]


def client_address(request: Request) -> str:
    """Who is counted unless a route says otherwise: the address that the request came from.

    Behind a proxy that is the proxy's, unless uvicorn is told to trust what the proxy says of its
    client (`--proxy-headers --forwarded-allow-ips`).
    """
    return request.client.host if request.client else "unknown"


def limited(limit: Limit, *, by: Callable[[Request], str] = client_address) -> Any:
    """What a route passes in `dependencies` to be called at most so often by each client.

    The answer says what is left in `RateLimit` and `RateLimit-Policy`
    (draft-ietf-httpapi-ratelimit-headers). Several limits on one route all count.

    Args:
        limit: the policy.
        by: who is counted; `lambda request: "*"` counts everybody together.
    """

    async def take(request: Request, response: Response, limiter: LimiterDependency) -> None:
        decision = await limiter.take(limit, by(request))
        if not decision.counted:
            if not decision.allowed:
                raise Unavailable("Requests can't be counted now; try again.")
            return
        headers = _headers(limit, decision)
        if not decision.allowed:
            wait = max(1, math.ceil(decision.free_in))
            raise QuotaExceeded(
                f"At most {limit.quota:,} requests in {limit.window.total_seconds():g} seconds "
                f"are allowed; ask again in {wait} s.",
                headers={**headers, "Retry-After": str(wait)},
                **{"violated-policies": [limit.name]},
            )
        for name, value in headers.items():
            response.headers.append(name, value)

    return Depends(take)


def _headers(limit: Limit, decision: Decision) -> dict[str, str]:
    window = math.ceil(limit.window.total_seconds())
    state = f'"{limit.name}";r={decision.remaining}'
    if not decision.remaining:
        state += f";t={math.ceil(decision.free_in)}"
    return {
        "RateLimit-Policy": f'"{limit.name}";q={limit.quota};w={window}',
        "RateLimit": state,
    }
