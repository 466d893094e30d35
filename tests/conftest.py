"""The template as it stands in the working tree, and what the matrix costs."""

import os
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import patch

import jinja2
import pytest
from copier._main import Worker

from examples.render import snapshot
from tests import projects
from tests.combinations import EVERYTHING, Combination
from tests.copies import answered_once, cloned_once

# Runs the tests marked `long` too.
LONG = "TEST_LONG" in os.environ

# They run inside of an installed project: see tests/deep.py.
collect_ignore = ["layer"]


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A person's own copier settings must not answer questions here."""
    settings = tmp_path_factory.mktemp("settings") / "settings.yml"
    settings.write_text("{}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPIER_SETTINGS_PATH", str(settings))
        yield


@pytest.fixture(scope="session", autouse=True)
def _ask_git_nothing() -> Iterator[None]:
    """Spare the process that asks, for each file, for a setting of git that Windows alone has."""
    with patch.object(Worker, "_sync_git_index_executable_bit"):
        yield


@pytest.fixture(scope="session", autouse=True)
def _compile_once() -> Iterator[None]:
    """Keep what Jinja makes of a text: Copier compiles each part of each path for each project.

    An update renders three times, each time from another clone, so the file's path tells nothing.
    """
    compile_text = jinja2.Environment.compile
    compiled: dict[tuple[str, str | None], Any] = {}

    def compile_once(
        environment: jinja2.Environment,
        source: str,
        name: str | None = None,
        filename: str | None = None,
    ) -> Any:
        key = (source, name)
        if key not in compiled:
            compiled[key] = compile_text(environment, source, name, filename)
        return compiled[key]

    with patch.object(jinja2.Environment, "compile", compile_once):
        yield


@pytest.fixture(scope="session", autouse=True)
def _worked_out_once() -> Iterator[None]:
    with answered_once(), cloned_once():
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of the template, so that a dirty working tree costs no clone for each copy."""
    return snapshot(tmp_path_factory.mktemp("template") / "snapshot")


Renderer = Callable[[Combination], Path]


@pytest.fixture(scope="session")
def rendered(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """Call it with a combination: its project, rendered once for all workers, for reading alone."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "rendered"

    def render(combination: Combination) -> Path:
        project = folder / str(combination) / "project"
        with projects.locked(folder / f"{combination}.lock"):
            if not project.exists():
                projects.render(template, project, **combination.answers())
        return project

    return render


@pytest.fixture(scope="session")
def everything(rendered: Renderer) -> Path:
    """A project with every module, the HTTP API and the worked example."""
    return rendered(EVERYTHING)


@pytest.fixture(scope="session")
def environment(everything: Path) -> Path:
    """The shared environment with the dependencies of every module."""
    return projects.shared_environment(everything)


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: tests of backups, sagas and the stack mostly wait."""
    # The cores of this process: a container may have been given few of its machine's.
    given = hasattr(os, "sched_getaffinity")
    return (len(os.sched_getaffinity(0)) if given else os.cpu_count() or 1) + 2


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
    if not LONG:
        config.hook.pytest_deselected(items=[item for item in items if _is_long(item)])
        items[:] = [item for item in items if not _is_long(item)]
    items.sort(key=_rank)
    shard = config.getoption("shard")
    if not shard:
        return
    number, _, parts = shard.partition("/")
    groups = sorted({_group(item) for item in items})
    mine = set(groups[int(number) - 1 :: int(parts)])
    config.hook.pytest_deselected(items=[item for item in items if _group(item) not in mine])
    items[:] = [item for item in items if _group(item) in mine]


def _is_long(item: pytest.Item) -> bool:
    return item.get_closest_marker("long") is not None


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else item.nodeid


def _suffix(item: pytest.Item) -> str:
    """What pytest-xdist appends to the id of a test that belongs to a group."""
    marker = item.get_closest_marker("xdist_group")
    return f"@{marker.args[0]}" if marker else ""


# What takes longest comes first, so that no worker is left alone with it at the end.
FIRST = (
    *("tests/engines/test_layer.py", "tests/engines/", "tests/stack/"),
    *("tests/updates/test_year.py", "tests/updates/", "tests/rendering/"),
)


def _rank(item: pytest.Item) -> int:
    ranks = (rank for rank, start in enumerate(FIRST) if item.nodeid.startswith(start))
    return next(ranks, len(FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the processor time of a test, fixtures and ended processes included."""
    began = _processor()
    item.user_properties.append(("began", began))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "teardown":
        began = dict(item.user_properties)["began"]
        assert isinstance(began, float)
        report.user_properties = [("processor", _processor() - began)]
    return report


def _processor() -> float:
    return sum(os.times()[:4])


class Costs:
    """Adds up what the tests of each folder cost, over all workers."""

    SHOWN = 3

    def __init__(self) -> None:
        self.began = monotonic()
        self.tests: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.processor: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path, _, name = report.nodeid.partition("::")
        tier = "/".join(Path(path).parts[:2])
        if path == FIRST[0]:
            tier = "tests/layer"
        self.seconds[tier] += report.duration
        if report.when == "teardown":
            self.tests[tier] += 1
            costs = (float(str(cost)) for key, cost in report.user_properties if key == "processor")
            self.processor[tier].append((sum(costs), name))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("what the matrix costs")
        for tier, costs in sorted(self.processor.items()):
            terminalreporter.write_line(
                f"{tier:<18} {self.tests[tier]:5} tests {sum(cost for cost, _ in costs):7.0f} s of"
                f" processor time, {self.seconds[tier]:7.0f} s by the clock"
            )
            for cost, name in sorted(costs, reverse=True)[: self.SHOWN]:
                terminalreporter.write_line(f"    {cost:7.1f} s {name}")
        total = sum(cost for costs in self.processor.values() for cost, _ in costs)
        terminalreporter.write_line(
            f"all of it: {total / 60:.0f} min of processor time,"
            f" {(monotonic() - self.began) / 60:.1f} min by the clock"
            f"{'' if LONG else '; the long tests are left to TEST_LONG=1'}"
        )


def pytest_configure(config: pytest.Config) -> None:
    # The workers report to the one process that prints.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Costs(), "costs")
