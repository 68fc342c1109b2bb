"""Dashboard and alerts ask for what nodes show, and every alert is explained to who is woken."""

import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.architecture.tree import ROOT
from tests.deploy.files import (
    DEPLOY,
    alerts,
    dashboard,
    known_series,
    metrics_in,
    services,
    yaml_of,
)

OPERATIONS = ROOT / "docs" / "operations.md"
FOREIGN = {"haproxy_backend_active_servers": ("proxy",)}
"""Series of others that we ask for, and the labels we use of them."""
GIVEN = {"instance", "job", "le"}
"""Labels that Prometheus itself adds."""
FUNCTIONS = {
    *("rate", "increase", "sum", "max", "min", "count", "topk", "histogram_quantile"),
    *("min_over_time", "max_over_time", "changes", "vector", "by"),
}


def targets() -> list[str]:
    return [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())
    ]


EXPRESSIONS = [*(rule["expr"] for rule in alerts()), *targets()]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_given_an_expression_when_it_reads_a_series_then_nodes_show_it(expression: str) -> None:
    known = {**known_series(), **FOREIGN}
    read = metrics_in(expression)

    assert read or "up{" in expression
    assert read - known.keys() == set()
    labels = {label for name in read for label in known[name]} | GIVEN
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    used = {label.strip() for group in grouped for label in group.split(",")} | set(matched)
    assert used - labels == set()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_given_an_expression_when_read_then_it_is_well_formed(expression: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', expression)

    for opening, closing in ("()", "[]", "{}"):
        assert bare.count(opening) == bare.count(closing)
    called = set(re.findall(r"\b([a-z_]+)\s*\(", bare))
    assert called <= FUNCTIONS
    for name in re.findall(r"(peyk_\w+_total|peyk_\w+_bucket)\b(?!.*\[)", bare):
        raise AssertionError(f"{name} is read without a range")


def test_given_the_tool_when_it_checks_the_rules_then_they_are_valid() -> None:
    """Structure always; PromQL by promtool where it is installed."""
    for rule in alerts():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"Peyk[A-Z]\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
    if tool := shutil.which("promtool"):
        config = DEPLOY / "prometheus" / "prometheus.yml"
        checked = _run([tool, "check", "config", str(config)])
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_given_what_nodes_show_when_parts_are_gone_then_their_alerts_fire() -> None:
    tested = _run(["promtool", "test", "rules", str(ROOT / "tests" / "deploy" / "firing.yml")])

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_given_alerts_when_the_handbook_is_read_then_it_explains_each_and_no_other() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(Peyk\w+)` \|", text, re.MULTILINE)
    names = [rule["alert"] for rule in alerts()]

    assert len(set(names)) == len(names)
    assert explained == names


def test_given_alerts_when_the_handbook_is_read_then_it_gives_their_severity() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")

    for rule in alerts():
        row = f"| `{rule['alert']}` | {rule['labels']['severity']} |"
        assert row in text


def test_given_panels_when_drawn_then_each_has_a_place_a_unit_and_a_meaning() -> None:
    panels: list[dict[str, Any]] = [p for p in dashboard()["panels"] if p["type"] != "row"]
    taken = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    numbers = [p["id"] for p in dashboard()["panels"]]

    assert len(set(taken)) == len(taken)
    assert len(set(numbers)) == len(numbers)
    for panel in panels:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]


def test_given_an_alert_when_it_wakes_somebody_then_the_dashboard_draws_what_it_reads() -> None:
    def stems(expressions: list[str]) -> set[str]:
        names = {name for expression in expressions for name in metrics_in(expression)}
        return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}

    assert stems([rule["expr"] for rule in alerts()]) - stems(targets()) == set(FOREIGN)


def test_given_provisioning_when_compared_then_names_and_addresses_fit() -> None:
    [source] = yaml_of(DEPLOY / "grafana" / "datasource.yml")["datasources"]
    [provider] = yaml_of(DEPLOY / "grafana" / "provider.yml")["providers"]
    mounted = {config["target"] for config in services()["grafana"]["configs"]}
    asked = {panel["datasource"]["uid"] for panel in dashboard()["panels"] if "datasource" in panel}

    assert asked == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    assert f"{provider['options']['path']}/peyk.json" in mounted


def test_given_scrapes_when_compared_then_they_name_services_and_the_operations_port() -> None:
    jobs = {
        job["job_name"]: job
        for job in yaml_of(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    }
    [nodes] = jobs["peyk"]["dns_sd_configs"]
    environment = services()["gateway"]["environment"]

    assert set(nodes["names"]) == {"gateway", "worker"}
    assert str(nodes["port"]) == environment["PEYK_OPS_PORT"]
    assert environment["PEYK_OPS_HOST"] == "0.0.0.0"  # noqa: S104 - of the container
    assert set(services()["prometheus"]["networks"]) & set(services()["gateway"]["networks"])


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - ours
        command, capture_output=True, text=True, check=False, timeout=20
    )
