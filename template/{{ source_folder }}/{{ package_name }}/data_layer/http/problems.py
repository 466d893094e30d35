"""Every error of the API as a problem (RFC 9457, `application/problem+json`)."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_problem.error import (
    BadRequestProblem,
    ConflictProblem,
    NotFoundProblem,
    Problem,
    ServerProblem,
    StatusProblem,
    UnprocessableProblem,
)
from fastapi_problem.handler import (
    ExceptionHandler,
    add_exception_handler,
    http_exception_handler_,
    new_exception_handler,
)
from starlette.exceptions import HTTPException

from .. import logs
from ..database import (
    DatabaseUnreachable,
    LockTimeout,
    NotFound,
    PoolExhausted,
    StaleVersion,
    StatementTimeout,
    TransactionConflict,
    Violation,
)
from .middleware import REQUEST_ID, methods_of

logger = logging.getLogger(__name__)

# RFC 9457 wants a URI; a URN is a URI that promises no page behind it.
TYPE = "urn:problem-type:{type}"


class EntityNotFound(NotFoundProblem):
    """404: there is no such entity."""

    type_ = "not-found"
    title = "Not found"


class Conflict(ConflictProblem):
    """409: the entity has another version than the change was meant for.

    The standard asks for 409 where RFC 9110 has 412 for a failed If-Match: the conflict is with
    the state of the entity, and the answer carries `expected_version` and `current_version`, so
    that the client can read again and decide.
    """

    type_ = "stale-version"
    title = "Stale version"


class ConstraintConflict(ConflictProblem):
    """409: a unique, exclusion or foreign key constraint forbids the change.

    `constraint` is its name. The same request could pass if other rows were different.
    """

    type_ = "constraint-conflict"
    title = "Constraint conflict"


class RefusedValue(UnprocessableProblem):
    """422: a value breaks a check, must not be null, or does not fit the type of its column.

    `constraint` names the check, or is null; `column` names the column that must have a value, or
    is null.
    """

    type_ = "refused-value"
    title = "Refused value"


class PreconditionRequired(StatusProblem):
    """428: a change without If-Match."""

    type_ = "precondition-required"
    title = "Precondition required"
    status = 428


class MalformedPrecondition(BadRequestProblem):
    """400: an If-Match that is not one ETag of this API."""

    type_ = "malformed-precondition"
    title = "Malformed precondition"


class ContentTooLarge(StatusProblem):
    """413: a body of more than `HTTP_MAX_BODY_SIZE` bytes."""

    type_ = "content-too-large"
    title = "Content too large"
    status = 413

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__("The body is larger than this API takes; send less at once.")


class InvalidRequest(UnprocessableProblem):
    """422: the request does not have the shape that the API documents.

    `errors` says where and why; what was sent is not repeated, since it may hold a secret.
    """

    type_ = "invalid-request"
    title = "Invalid request"


class Unavailable(ServerProblem):
    """503: the database is down or too busy; Retry-After says in how many seconds to ask again."""

    type_ = "unavailable"
    title = "Temporarily unavailable"
    status = 503
    headers_ = {"Retry-After": "1"}  # noqa: RUF012 (the base declares it as an instance attribute)


class NotReady(Unavailable):
    """503: a dependency does not answer; `dependencies` says which."""

    type_ = "not-ready"
    title = "Not ready"


class TimedOut(ServerProblem):
    """504: the database stopped a statement that ran too long; repeating it would not help."""

    type_ = "timed-out"
    title = "Timed out"
    status = 504


class Unexpected(ServerProblem):
    """500: the details of the error stay in the log of the server."""

    type_ = "unexpected-error"
    title = "Unexpected error"

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__("The server met an error that it did not expect; its log has the details.")


def install(
    app: FastAPI, refusals: Mapping[type[Exception], int] | None = None
) -> ExceptionHandler:
    """Answer every error of `app` with a problem and document it in the OpenAPI schema.

    Args:
        app: the application.
        refusals: errors of the domain whose message is meant for the client, with their status.

    Returns:
        The function that turns an error into an answer, for a middleware that refuses a request.
    """
    handlers: dict[type[Exception], Any] = {
        StaleVersion: _stale_version,
        NotFound: _not_found,
        Violation: _violation,
        PoolExhausted: _unavailable,
        DatabaseUnreachable: _unavailable,
        LockTimeout: _unavailable,
        TransactionConflict: _unavailable,
        StatementTimeout: _timed_out,
    }
    for error, status in (refusals or {}).items():
        handlers[error] = _refusal(status)
    handler = new_exception_handler(
        handlers=handlers,
        unhandled_wrappers={"default": Unexpected, "413": ContentTooLarge},
        http_exception_handler=_http_exception,
        request_validation_handler=_invalid_request,
        post_hooks=[_name_the_request],
        documentation_uri_template=TYPE,
    )
    add_exception_handler(app, handler)
    for error in handlers:
        # An error that is registered only as Exception is raised again once it is answered, and
        # the server would log a traceback for every conflict.
        app.add_exception_handler(error, handler)
    return handler


def documented(*problems: type[StatusProblem]) -> dict[int | str, dict[str, Any]]:
    """What a route passes as `responses` to show these problems in the OpenAPI schema."""
    handler = ExceptionHandler(documentation_uri_template=TYPE)
    by_status: dict[int | str, list[type[StatusProblem]]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    return {status: handler.generate_swagger_response(*same) for status, same in by_status.items()}


def _name_the_request(
    content: dict[str, Any], _: Request, response: Response
) -> tuple[dict[str, Any], Response]:
    # An unexpected error is answered outside of the middleware that sets the header for all else.
    if identifier := logs.request_id():
        response.headers[REQUEST_ID.decode()] = identifier
    return content, response


def _http_exception(handler: ExceptionHandler, request: Request, error: HTTPException) -> Problem:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names the methods of one route; another may have the same path.
        error.headers = {"Allow": ", ".join(methods_of(request.scope))}
    return http_exception_handler_(handler, request, error)


def _stale_version(_: ExceptionHandler, __: Request, error: StaleVersion) -> Problem:
    return Conflict(str(error), expected_version=error.expected, current_version=error.current)


def _not_found(_: ExceptionHandler, __: Request, error: NotFound) -> Problem:
    return EntityNotFound(str(error))


def _violation(_: ExceptionHandler, request: Request, error: Violation) -> Problem:
    if error.kind == "value":
        # The client's value is wrong, or the statement has a fault (an overflow, a wrong pattern):
        # the server's code is the same.
        _log(request, error)
    if error.kind in ("unique", "exclusion", "foreign key"):
        return ConstraintConflict(str(error), constraint=error.constraint)
    return RefusedValue(str(error), constraint=error.constraint, column=error.column)


def _unavailable(_: ExceptionHandler, request: Request, error: Exception) -> Problem:
    _log(request, error)
    return Unavailable("The database can't serve this request now; try again.")


def _timed_out(_: ExceptionHandler, request: Request, error: Exception) -> Problem:
    _log(request, error)
    return TimedOut("The database stopped this request, which took too long; ask for less.")


def _log(request: Request, error: Exception) -> None:
    # The sentence names hosts and limits: for those who read the log, not for the client.
    logger.warning("%s %r: %s", request.method, request.url.path, error)


def _refusal(status: int) -> Any:
    def refuse(_: ExceptionHandler, __: Request, error: Exception) -> Problem:
        kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
        return Problem(HTTPStatus(status).phrase, kind, str(error), status)

    return refuse


def _invalid_request(_: ExceptionHandler, __: Request, error: RequestValidationError) -> Problem:
    errors = [{key: found[key] for key in ("loc", "msg", "type")} for found in error.errors()]
    return InvalidRequest("The request is not what this route documents.", errors=errors)
