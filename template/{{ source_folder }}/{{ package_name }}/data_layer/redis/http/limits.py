"""Rate limits on routes: the standard headers, 429 as a problem."""

import math
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from fastapi import Depends, Request, Response
from fastapi_problem.error import StatusProblem

from ...http.problems import Unavailable
from ..limits import Decision, Limit, Limiter


class QuotaExceeded(StatusProblem):
    """429: the client has used its quota; Retry-After says in how many seconds to ask again."""

    type_ = "quota-exceeded"
    title = "Quota exceeded"
    status = 429


def client_address(request: Request) -> str:
    """The client that is counted unless a route says otherwise: the address of the request.

    For IPv6 it is the /64 network, since one client has all addresses of such a network. Behind a
    proxy it is the proxy's address, unless uvicorn is told to trust what the proxy says of its
    client (`--proxy-headers --forwarded-allow-ips`).
    """
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        network = IPv6Network((int(address), 64), strict=False)
        return str(address.ipv4_mapped or network)
    return host


def limited(limit: Limit, *, by: Callable[[Request], str] = client_address) -> Any:
    """A dependency for the `dependencies` of a route, which limits the calls of each client.

    The answer says what is left in `RateLimit` and `RateLimit-Policy`
    (draft-ietf-httpapi-ratelimit-headers). Several limits on one route all count.

    Args:
        limit: the policy.
        by: who is counted; `lambda request: "*"` counts everybody together.
    """

    async def take(request: Request, response: Response) -> None:
        limiter: Limiter = request.app.state.limiter
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
