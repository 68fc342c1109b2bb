"""The files of a deployment, read as their programs read them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from messenger.metrics import Metrics
from tests.architecture.tree import ROOT

DEPLOY = ROOT / "deploy"
Json = dict[str, Any]

_METRIC = re.compile(r"\b(?:peyk|haproxy)_[a-z0-9_]+")


def compose() -> Json:
    """`compose.yaml` with its anchors merged, as the engine sees it."""
    return yaml_of(ROOT / "compose.yaml")


def services() -> Json:
    found: Json = compose()["services"]
    return found


def yaml_of(path: Path) -> Json:
    found: Json = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def alerts() -> list[Json]:
    groups = yaml_of(DEPLOY / "prometheus" / "alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> Json:
    found: Json = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    return found


def metrics_in(expression: str) -> set[str]:
    """Names of metrics that a PromQL expression reads."""
    return set(_METRIC.findall(expression))


def known_series() -> dict[str, tuple[str, ...]]:
    """Each series a scrape of a node has, with the labels that its metric declares."""
    series: dict[str, tuple[str, ...]] = {}
    for name, kind, labels, _ in Metrics().catalogue:
        parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        series.update({name + part: labels for part in parts})
    return series


def made_secrets(folder: Path) -> Path:
    """What `make secrets` makes, in a folder of the test."""
    made = folder / "secrets"
    script = ["sh", str(DEPLOY / "make-secrets.sh"), str(made)]
    subprocess.run(script, check=True, capture_output=True, timeout=20)  # noqa: S603 - ours
    return made
