"""What watches the stack: rules, dashboards, and whether what they name is there."""

import json
import re
import time
from pathlib import Path

import pytest
import yaml

from tests.projects import ROOT
from tests.stack.conftest import Client, Prometheus, Stack, until
from tests.stack.load import Load

pytestmark = pytest.mark.xdist_group("stack")

# What stands in a query beside metrics and functions.
WORDS = frozenset({"and", "by", "le", "or", "unless"})


def metrics_of(query: str) -> set[str]:
    """The metrics that a query names; it finds them by their place, as PromQL has no variables."""
    plain = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)', " ", query)
    found = re.findall(r"[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", plain)
    return {name for name in found if name not in WORDS and not re.match(r"e\d", name)}


def queries(project: Path) -> dict[str, str]:
    """Every query of a rule or a panel, by where it stands; the panels of all modules."""
    folder = project / "ops" / "monitoring"
    [group] = yaml.safe_load((folder / "rules.yml").read_text(encoding="utf-8"))["groups"]
    found = {rule["alert"]: rule["expr"] for rule in group["rules"]}
    for path in (ROOT / "template/ops/monitoring/grafana/dashboards").glob("*.json"):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                where = f"{path.stem}, {panel['title']}, {target['refId']}"
                found[where] = target["expr"].replace("$__rate_interval", "5m")
    return found


def test_the_metrics_of_a_query_are_found() -> None:
    query = 'sum by (le) (rate(a_total{b="c_d"}[5m])) > 0.8 * max(d:e) and f unless g > 1e9'
    assert metrics_of(query) == {"a_total", "d:e", "f", "g"}


def test_every_metric_of_a_rule_or_a_panel_was_scraped_and_every_query_can_be_asked(
    drilled: Stack, client: Client
) -> None:
    stack = drilled
    # What has not happened yet has no metric: a request, a saga, a message that waits.
    stack.compose("stop", "outbox-relay")
    assert client.ask("POST", "/errands", {"name": "watched"})[0] == 202
    prometheus = Prometheus(stack.ports["PROMETHEUS_PORT"])
    wanted = {where: metrics_of(query) for where, query in queries(stack.project).items()}
    assert all(wanted.values()), wanted

    def unknown() -> dict[str, set[str]]:
        known = set(prometheus.ask("label/__name__/values"))
        missing = {where: names - known for where, names in wanted.items()}
        return {where: names for where, names in missing.items() if names}

    try:
        until(lambda: not unknown(), "Some are never scraped.")
    except AssertionError:
        assert unknown() == {}
    stack.compose("start", "outbox-relay")
    for query in queries(stack.project).values():
        prometheus.ask("query", query=query)


def test_every_target_is_up(stack: Stack) -> None:
    prometheus = Prometheus(stack.ports["PROMETHEUS_PORT"])
    until(
        lambda: {one["health"] for one in prometheus.ask("targets")["activeTargets"]} == {"up"},
        "A target is down.",
    )
    jobs = {one["labels"]["job"] for one in prometheus.ask("targets")["activeTargets"]}
    assert jobs == {"api", "postgres", "redis", "redis-queue", "workers", "machine"}
    services = {
        one["labels"]["service"]
        for one in prometheus.ask("targets")["activeTargets"]
        if one["labels"]["job"] == "workers"
    }
    assert services == {"worker", "scheduler", "saga-worker", "outbox-relay"}


def test_every_rule_fires_where_it_must_and_nowhere_else(stack: Stack) -> None:
    """Prometheus' own tests of rules; each alert has its case."""
    cases = Path(__file__).parent / "rules_test.yml"
    asked = yaml.safe_load(cases.read_text(encoding="utf-8"))["tests"]
    fired = {
        one["alertname"] for case in asked for one in case["alert_rule_test"] if one["exp_alerts"]
    }
    rules = stack.project / "ops" / "monitoring" / "rules.yml"
    [group] = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    assert fired == {rule["alert"] for rule in group["rules"]}
    stack.docker(
        *("run", "--rm", "--network=none", "--entrypoint=promtool"),
        *("--volume", f"{rules}:/rules/rules.yml:ro"),
        *("--volume", f"{cases}:/rules/rules_test.yml:ro"),
        *("prom/prometheus:v3.5.3", "test", "rules", "/rules/rules_test.yml"),
    )


@pytest.mark.long
def test_profiles_go_and_come_on_a_living_stack_on_stand_in_images(
    drilled: Stack, client: Client
) -> None:
    """Requests go on, what was measured is kept, and no alert is left that was not there."""
    stack, prometheus = drilled, Prometheus(drilled.ports["PROMETHEUS_PORT"])
    env = stack.project / ".env"
    before = env.read_text(encoding="utf-8")
    # Of a moment ago, so that nothing of then is still to be written.
    then = {"query": "count_over_time(up[1h])", "time": str(time.time() - 20)}
    measured, known = prometheus.ask("query", **then)["result"], alerts(prometheus)
    assert measured
    load = Load(client)
    with load.running():
        try:
            env.write_text(
                before.replace(",queue,", ",").replace(",monitoring", ""), encoding="utf-8"
            )
            end_what_no_profile_names(stack)
            stack.up()
            named = set(stack.compose("config", "--services").stdout.split())
            assert not {"worker", "scheduler", "prometheus", "checks"} & named
            assert set(stack.compose("ps", "--services").stdout.split()) == named - {"migrate"}
            load.more()
        finally:
            env.write_text(before, encoding="utf-8")
            back = time.time()
            stack.up()
        load.more()
    assert load.failed == []
    load.all_are_done()
    assert prometheus.ask("query", **then)["result"] == measured

    def settled() -> bool:
        """Every target was scraped twice, and the checks have had their turn."""
        targets = prometheus.ask("targets")["activeTargets"]
        since = f"{int(time.time() - back)}s"
        scraped = prometheus.ask("query", query=f"min(count_over_time(up[{since}]))")["result"]
        asked = prometheus.ask("query", query="data_layer_check_timestamp_seconds")["result"]
        return (
            {one["health"] for one in targets} == {"up"}
            and float(scraped[0]["value"][1]) > 1
            and float(asked[0]["value"][1]) > back
        )

    until(settled, "The monitoring does not come back.")
    until(lambda: alerts(prometheus) <= known, f"Beside {known}: {alerts(prometheus)}")


def alerts(prometheus: Prometheus) -> set[str]:
    """What fires; that nothing else is about to is known once every target is up."""
    found = prometheus.ask("alerts")["alerts"]
    return {str(sorted(one["labels"].items())) for one in found if one["state"] == "firing"}


def end_what_no_profile_names(stack: Stack) -> None:
    """Type what the page on deploying says."""
    page = (stack.project / "docs/data-layer/deployment.md").read_text(encoding="utf-8")
    [command] = re.findall(r"```sh\n(docker compose ps --all[^`]*)```", page)
    stack.type(command)
