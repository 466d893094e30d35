"""A server that won't do is refused with a sentence before anything is created."""

import pytest
from sqlalchemy import Connection

from my_project.data_layer.database.migrations import MigrationError
from my_project.data_layer.devservers.postgresql import (
    EmbeddedServer,
)
from tests.layer.timescaledb.conftest import Project

MIGRATION = """
    timescaledb.create_extension()
    op.create_table("readings", sa.Column("at", sa.DateTime(timezone=True), nullable=False))
    timescaledb.create_hypertable("readings", "at", chunk_interval="1 day")
"""


@pytest.mark.standard("DL-TS-01")
async def test_a_server_without_the_extension_is_refused(
    own_server: EmbeddedServer, project: Project
) -> None:
    project.url = own_server.url
    project.migration(MIGRATION)
    with pytest.raises(MigrationError, match="has no TimescaleDB; start"):
        await project.upgrade()
    assert project.query("SELECT 1 FROM pg_tables WHERE tablename = 'readings'") == []


FAKES = {
    "not preloaded": (
        "current_setting('timescaledb.disable_load', true)",
        None,
        "does not preload TimescaleDB",
    ),
    "Apache": (
        "current_setting('timescaledb.license', true)",
        "apache",
        "Apache edition",
    ),
    "too old": (
        "SELECT default_version FROM pg_available_extensions",
        "2.17.1",
        "install 2.18 or later",
    ),
}


@pytest.mark.standard("DL-TS-01")
@pytest.mark.parametrize("fake", FAKES)
async def test_a_build_that_will_not_do_is_refused_and_nothing_is_left(
    project: Project, monkeypatch: pytest.MonkeyPatch, fake: str
) -> None:
    """Builds that are not at hand, by what they answer to the one question that tells them."""
    question, answer, reason = FAKES[fake]
    scalar = Connection.scalar

    def answered(self: Connection, statement: object, *given: object, **named: object) -> object:
        if question in str(statement):
            return answer
        return scalar(self, statement, *given, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Connection, "scalar", answered)
    project.migration(MIGRATION)
    with pytest.raises(MigrationError, match=reason):
        await project.upgrade()
    assert project.query("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'") == []
    assert project.query("SELECT 1 FROM pg_tables WHERE tablename = 'readings'") == []
