"""A deployment of the first release moves to this version, over the volumes that it has."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import copier
import pytest

from tests.projects import CACHE, commit_all
from tests.stack import images
from tests.stack.conftest import (
    COMBINATION,
    Client,
    Prometheus,
    Stack,
    backed_up,
    build,
    running,
    settle,
    until,
    write_errands,
    write_migration,
)
from tests.stack.load import DONE
from tests.updates.conftest import conflicts, update
from tests.updates.test_updates import advance, begun

pytestmark = [pytest.mark.xdist_group("stack"), pytest.mark.long]

# Not that of the other tests: its images have names of their own.
PACKAGE = "older_project"
UP = "count_over_time(up[1h])"


@pytest.fixture(scope="module")
def older(
    template: Path, docker: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack of 0.1.0, up and healthy, whose template has a next version."""
    scratch = tmp_path_factory.mktemp("older")
    repository = begun("0.1.0", scratch)
    project = scratch / "project"
    answers = COMBINATION.answers() | {"project_name": "Older Project", "package_name": PACKAGE}
    copier.run_copy(str(repository), project, data=answers, defaults=True, quiet=True)
    write_errands(project, PACKAGE)
    ports = settle(project, PACKAGE)
    commit_all(project, "Begin")
    images.build_stand_ins(project, CACHE / "stack", docker, scratch)
    build(project, docker)
    advance(repository, template)
    with running(Stack(project, docker, ports)) as stack:
        try:
            stack.up()
        except AssertionError:
            # A busy machine lets the health check of 0.1.0 fail where the API answers.
            stack.up()
        yield stack
        named = ("--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=older-project*")
        made = stack.docker("images", *named)
    # By name: an image of the other stack may be the same.
    stack.docker("rmi", *made.split())


def backups(stack: Stack) -> list[str]:
    """The labels of the backups that can be restored, the oldest first."""
    info = stack.compose("exec", "-T", "backup", "pgbackrest", "info", "--output=json").stdout
    return [one["label"] for one in json.loads(info)[0]["backup"]]


def test_a_stack_of_the_first_release_keeps_all_it_has_through_the_update_on_stand_in_images(
    older: Stack, docker: dict[str, str]
) -> None:
    stack, client = older, Client(older)

    def done(name: str) -> bool:
        return client.ask("GET", f"/errands/{name}")[1] == DONE

    assert client.ask("POST", "/errands", {"name": "done"})[0] == 202
    until(lambda: done("done"), "The errand was not done.")
    until(lambda: backed_up(stack), "The schedule made no backup.")
    # These have begun with the old version, and are for the new one to end.
    stack.compose("stop", "worker", "scheduler", "saga-worker", "outbox-relay")
    waiting = [f"waiting-{number}" for number in range(20)]
    for name in waiting:
        assert client.ask("POST", "/errands", {"name": name})[0] == 202
    # Of a moment ago, so that nothing of then is still to be written.
    saved, moment = backups(stack), str(time.time() - 20)
    prometheus = Prometheus(stack.ports["PROMETHEUS_PORT"])

    def scraped() -> list[str]:
        return sorted(map(str, prometheus.ask("query", query=UP, time=moment)["result"]))

    measured = scraped()
    assert measured

    # What the CHANGELOG and the page on deploying say.
    update(stack.project)
    assert conflicts(stack.project) == []
    write_migration(stack.project, PACKAGE, "add request ids")
    build(stack.project, docker)
    stack.up()

    client = Client(stack)
    until(lambda: all(map(done, ["done", *waiting])), "What was begun before was not done.")
    assert client.ask("POST", "/errands", {"name": "new"})[0] == 202
    until(lambda: done("new"), "The errand was not done.")
    assert backups(stack)[: len(saved)] == saved
    assert scraped() == measured
    stack.compose("run", "--rm", "-T", "drill")
    checked = stack.compose("run", "--rm", "-T", "drill", "check", "--json", check=False)
    report = json.loads(checked.stdout)
    assert [one for one in report["checks"] if one["verdict"] == "failed"] == []
    assert checked.returncode == 0
