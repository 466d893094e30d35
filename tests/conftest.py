"""The template as it stands in the working tree, and what the matrix costs."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from examples.render import snapshot
from tests import projects
from tests.combinations import EVERYTHING


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A person's own copier settings must not answer questions here."""
    settings = tmp_path_factory.mktemp("settings") / "settings.yml"
    settings.write_text("{}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPIER_SETTINGS_PATH", str(settings))
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of the template, so that a dirty working tree costs no clone for each copy."""
    return snapshot(tmp_path_factory.mktemp("template") / "snapshot")


@pytest.fixture(scope="session")
def everything(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every module, the HTTP API and the worked example."""
    destination = tmp_path_factory.mktemp("everything") / "project"
    return projects.render(template, destination, **EVERYTHING.answers())


@pytest.fixture(scope="session")
def environment(everything: Path) -> Path:
    """The shared environment with the dependencies of every module."""
    return projects.shared_environment(everything)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: of what installed projects test, a good part is waiting."""
    # The cores of this process: a container may have been given few of its machine's.
    given = hasattr(os, "sched_getaffinity")
    return (len(os.sched_getaffinity(0)) if given else os.cpu_count() or 1) + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shard",
        metavar="N/M",
        help="run only the N-th of M parts; tests of one xdist group stay together",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        # An update of pytest can take the groups away without a word, and then every worker
        # installs every project.
        scattered = [item for item in items if not item.nodeid.endswith(_suffix(item))]
        if scattered:
            raise pytest.UsageError(f"pytest-xdist has not grouped {scattered[0].nodeid}")
    shard = config.getoption("shard")
    if not shard:
        return
    number, _, parts = shard.partition("/")
    groups = sorted({_group(item) for item in items})
    mine = set(groups[int(number) - 1 :: int(parts)])
    config.hook.pytest_deselected(items=[item for item in items if _group(item) not in mine])
    items[:] = [item for item in items if _group(item) in mine]


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else item.nodeid


def _suffix(item: pytest.Item) -> str:
    """What pytest-xdist appends to the id of a test that belongs to a group."""
    marker = item.get_closest_marker("xdist_group")
    return f"@{marker.args[0]}" if marker else ""


class Costs:
    """Adds up how long the tests of each folder took, over all workers."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.seconds: dict[str, float] = defaultdict(float)
        self.tests: dict[str, int] = defaultdict(int)
        self.slowest: dict[str, tuple[float, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tier = "/".join(Path(report.nodeid.partition("::")[0]).parts[:2])
        self.seconds[tier] += report.duration
        if report.when == "call":
            self.tests[tier] += 1
        self.slowest[tier] = max(
            self.slowest.get(tier, (0.0, "")), (report.duration, report.nodeid.partition("::")[2])
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("what the matrix costs")
        for tier in sorted(self.seconds):
            longest, name = self.slowest[tier]
            terminalreporter.write_line(
                f"{tier:<18} {self.tests[tier]:5} tests {self.seconds[tier]:8.1f} s of work,"
                f" longest {longest:.1f} s: {name}"
            )
        terminalreporter.write_line(f"wall clock {monotonic() - self.began:.0f} s")


def pytest_configure(config: pytest.Config) -> None:
    # The workers report to the one process that prints.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Costs(), "costs")
