"""Where the tests of this module find TimescaleDB."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import URL, make_url

from tests.data_layer.fixtures import connect

WAYS = (
    "The tests of the time series need a server with TimescaleDB: set TEST_TIMESCALEDB_URL or "
    "TEST_DATABASE_URL to one with a role that may create databases."
)


@contextmanager
def timescaledb_server() -> Iterator[URL]:
    """The URL of a server with TimescaleDB; the test fails where there is none."""
    reasons = []
    for variable in ("TEST_TIMESCALEDB_URL", "TEST_DATABASE_URL"):
        if given := os.environ.get(variable):
            url = make_url(given).set(drivername="postgresql+psycopg")
            if reason := _unfit(url):
                reasons.append(f"{variable}: {reason}")
            else:
                yield url
                return
    pytest.fail(f"{WAYS} {' '.join(reasons)}", pytrace=False)


def _unfit(url: URL) -> str:
    try:
        with connect(url) as connection:
            found = connection.execute(
                "SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'"
            ).fetchone()
    except psycopg.OperationalError as error:
        return f"the server does not answer ({' '.join(str(error).split())})."
    return "" if found else "its server has no TimescaleDB."


def has_background_workers(url: URL) -> bool:
    """Whether policies run by themselves there; True also for a server that can't be asked."""
    try:
        with connect(url) as connection:
            found = connection.execute(
                "SELECT current_setting('timescaledb.max_background_workers', true) IS NOT NULL"
            ).fetchone()
    except psycopg.OperationalError:
        return True
    return found is None or bool(found[0])
