"""The HTTP side of the data layer: problems, versions as ETags, health and metrics."""

from .application import DatabaseDependency, create_api, database_of
from .health import Probe, Readiness
from .preconditions import ExpectedVersion, expected_version, set_etag
from .problems import (
    Conflict,
    EntityNotFound,
    InvalidRequest,
    MalformedPrecondition,
    PreconditionRequired,
    Unavailable,
    documented,
)

__all__ = [
    "Conflict",
    "DatabaseDependency",
    "EntityNotFound",
    "ExpectedVersion",
    "InvalidRequest",
    "MalformedPrecondition",
    "PreconditionRequired",
    "Probe",
    "Readiness",
    "Unavailable",
    "create_api",
    "database_of",
    "documented",
    "expected_version",
    "set_etag",
]
