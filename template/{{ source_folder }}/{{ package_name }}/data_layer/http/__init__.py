"""The HTTP side of the data layer: problems, versions as ETags, health and metrics."""

from .application import DatabaseDependency, create_api, database_of, install
from .health import Probe, Readiness
from .preconditions import ExpectedVersion, expected_version, set_etag
from .problems import (
    Conflict,
    ConstraintConflict,
    EntityNotFound,
    InvalidRequest,
    MalformedPrecondition,
    PreconditionRequired,
    RefusedValue,
    Unavailable,
    documented,
)

__all__ = [
    "Conflict",
    "ConstraintConflict",
    "DatabaseDependency",
    "EntityNotFound",
    "ExpectedVersion",
    "InvalidRequest",
    "MalformedPrecondition",
    "PreconditionRequired",
    "Probe",
    "Readiness",
    "RefusedValue",
    "Unavailable",
    "create_api",
    "database_of",
    "documented",
    "expected_version",
    "install",
    "set_etag",
]
