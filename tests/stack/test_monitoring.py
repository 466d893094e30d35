"""What watches the stack: rules, dashboards, and whether what they name is there."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.stack.conftest import Client, Prometheus, Stack, until

pytestmark = pytest.mark.xdist_group("stack")

# What stands in a query beside metrics and functions.
WORDS = frozenset({"and", "by", "le", "or", "unless"})


def metrics_of(query: str) -> set[str]:
    """The metrics that a query names; it finds them by their place, as PromQL has no variables."""
    plain = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)', " ", query)
    found = re.findall(r"[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", plain)
    return {name for name in found if name not in WORDS and not re.match(r"e\d", name)}


def queries(project: Path) -> dict[str, str]:
    """Every query of a rule or a panel, by where it stands."""
    folder = project / "ops" / "monitoring"
    [group] = yaml.safe_load((folder / "rules.yml").read_text(encoding="utf-8"))["groups"]
    found = {rule["alert"]: rule["expr"] for rule in group["rules"]}
    for path in (folder / "grafana" / "dashboards").glob("*.json"):
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
