"""The Grafana dashboard against the metrics that the code exports."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ray.util.metrics import Counter, Gauge, Metric

from ray_autointerp.cluster.metrics import Metrics

DASHBOARD = Path(__file__).parents[2] / "jobs" / "grafana" / "ray_autointerp.json"
NAME = re.compile(r"\bray_autointerp_\w+")


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return read


def expressions(dashboard: dict[str, Any]) -> list[str]:
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = dashboard["templating"]["list"]
    return panels + [one["query"] for one in variables if one["type"] == "query"]


def exported() -> dict[str, Metric]:
    """By name on the endpoint: Ray puts something before each and something after counters."""
    made = [metric for metric in vars(Metrics()).values() if isinstance(metric, Metric)]
    assert {type(metric) for metric in made} == {Counter, Gauge}
    endings = {Counter: "_total", Gauge: ""}
    return {f"ray_{metric.info['name']}{endings[type(metric)]}": metric for metric in made}


def test_every_expression_names_a_metric_and_every_metric_is_shown(
    dashboard: dict[str, Any],
) -> None:
    named = [NAME.findall(expression) for expression in expressions(dashboard)]
    assert all(named)
    assert {name for names in named for name in names} == set(exported())


def test_labels_in_expressions_are_tags_of_their_metric(dashboard: dict[str, Any]) -> None:
    metrics = exported()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            (name,) = NAME.findall(target["expr"])
            by = re.findall(r"by \(([^)]*)\)", target["expr"])
            labels = {label.strip() for group in by for label in group.split(",")}
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            chosen = set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!)", target["expr"]))
            assert chosen and shown == labels
            assert labels | chosen <= set(metrics[name].info["tag_keys"]), target["expr"]


def test_panels_have_their_own_ids_and_places(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
