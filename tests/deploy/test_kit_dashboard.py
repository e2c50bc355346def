"""What the dashboard asks exists in the code, and a live Prometheus, set up as in the kit, answers it."""

import json
import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

import cloud_server.metrics
import edge_node.metrics
from cloud_server import config, server
from deploy.demo.processes import HOST, Child, wait_until
from edge_node.config import Cloud, EdgeConfig, Metrics, Model, Node
from edge_node.node import EdgeNode
from tests.deploy.fleet_broker import WAIT, free_ports
from tests.models import cloud_artifact, edge_artifact, samples
from tests.services import require

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana/dashboards/edge-vs-cloud.json"
SUFFIXES = {
    "counter": ["_total"],
    "histogram": ["_bucket", "_sum", "_count"],
    "info": ["_info"],
    "gauge": [""],
}
VARIABLES = {"$site": ".*", "$node": ".*", "$__rate_interval": "3s", "$__range": "1m"}
PATIENCE = 30.0
UNSURE = np.zeros(3, np.float32)
"""A sample that favours no class."""


def dashboard() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return parsed


def expressions() -> list[str]:
    """All that the panels and the variables ask."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    variables = [variable["query"] for variable in dashboard()["templating"]["list"]]
    return panels + re.findall(r"label_values\((.*), \w+\)", "\n".join(variables))


def names(registry: CollectorRegistry) -> set[str]:
    return {family.name + suffix for family in registry.collect() for suffix in SUFFIXES[family.type]}


def test_the_dashboard_is_what_the_code_builds() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk")
    from deploy.grafana.build import build

    assert DASHBOARD.read_text() == build(), "run python -m deploy.grafana.build"


def test_every_metric_of_the_dashboard_exists() -> None:
    known = names(edge_node.metrics.Meter().registry) | names(cloud_server.metrics.Meter().registry)
    asked = {name for expression in expressions() for name in re.findall(r"\btidegate_\w+", expression)}
    assert asked
    assert asked - known == set()


def test_edge_and_cloud_stand_side_by_side() -> None:
    placed = {panel["title"]: panel["gridPos"] for panel in dashboard()["panels"]}
    left, right = placed["Median latency"], placed["99th percentile of latency"]
    assert (left["y"], left["x"], left["w"], right["x"]) == (right["y"], 0, 12, 12)


def test_promtool_accepts_the_configuration() -> None:
    command: list[str | Path] = [require("promtool"), "check", "config", DEPLOY / "prometheus/prometheus.yml"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@dataclass(frozen=True)
class Prometheus:
    """A live one."""

    url: str

    def query(self, expression: str) -> list[float]:
        """The values of an instant query."""
        try:
            with urlopen(
                f"{self.url}/api/v1/query?{urlencode({'query': expression})}", timeout=WAIT
            ) as answer:
                return [float(series["value"][1]) for series in json.load(answer)["data"]["result"]]
        except HTTPError as error:
            pytest.fail(f"{expression}: {error.read().decode()}")

    def ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=WAIT):
                return True
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, edge_port: int, cloud_port: int) -> Iterator[Prometheus]:
    """The kit's configuration with these ports, and more haste."""
    copytree(DEPLOY / "prometheus", folder)
    adapt(folder / "nodes/local.yml", "127.0.0.1:9464", f"{HOST}:{edge_port}")
    adapt(folder / "servers/local.yml", "127.0.0.1:9465", f"{HOST}:{cloud_port}")
    adapt(folder / "prometheus.yml", "interval: 15s", "interval: 500ms")
    port, _ = free_ports()
    command: list[str | Path] = [
        require("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={HOST}:{port}",
    ]
    with Child("prometheus", command, folder / "log") as child:
        running = Prometheus(f"http://{HOST}:{port}")
        assert wait_until(lambda: child.poll() is not None or running.ready(), PATIENCE)
        assert child.poll() is None, child.last_line()
        yield running


def adapt(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_prometheus_answers_all_that_the_dashboard_asks(tmp_path: Path) -> None:
    """A node and a server at work, scraped as the kit says; every query finds numbers."""
    require("prometheus")
    edge_port, cloud_port = free_ports()
    cloud = cloud_artifact(tmp_path / "cloud")
    edge_artifact(tmp_path / "edge", cloud)
    flags = {"server.port": 0, "metrics.port": cloud_port, "models": [{"path": str(tmp_path / "cloud")}]}
    with server.serve(config.load(None, flags)) as running:
        settings = EdgeConfig(
            node=Node(site="lab", name="node-1"),
            model=Model(path=tmp_path / "edge", threads=1),
            cloud=Cloud(target=running.address, deadline=WAIT),
            metrics=Metrics(port=edge_port),
        )
        with (
            EdgeNode.open(settings) as node,
            prometheus(tmp_path / "prometheus", edge_port, cloud_port) as live,
        ):
            unanswered = {substituted(expression) for expression in expressions()}

            def all_answered() -> bool:
                node.infer(samples(1)[0])
                node.infer(UNSURE)
                unanswered.difference_update([asked for asked in unanswered if has_data(live.query(asked))])
                return not unanswered

            assert wait_until(all_answered, PATIENCE), "\n".join(unanswered)
            assert live.query("count(up == 1)") == [2]


def substituted(expression: str) -> str:
    """As Grafana would send it."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def has_data(values: list[float]) -> bool:
    return any(map(math.isfinite, values))
