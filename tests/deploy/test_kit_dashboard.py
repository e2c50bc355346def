"""What the dashboards ask exists in the code; a real Prometheus that watches a fleet at work answers it."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import trustme

from deploy.demo.broker import Broker
from deploy.demo.collect import NodeId
from deploy.demo.processes import HOST, wait_until
from deploy.demo.prometheus import open_prometheus
from edge_node.gate.certificate import Binding
from edge_node.prepare.certify.write import write
from protos.artifact import Artifact, preprocessing_id
from tests.cloud_server import process
from tests.deploy import exported
from tests.gate.certificates import certificate
from tests.integration.fleet import SURE, UNSURE, edge_node
from tests.models import cloud_artifact, edge_artifact
from tests.nodes import NodeProcess
from tests.services import require

ROOT = Path(__file__).parents[2]
DASHBOARDS = {path.stem: path for path in sorted(ROOT.glob("deploy/grafana/dashboards/*.json"))}
SCRAPES = "500ms"
WAIT, PATIENCE = 10.0, 90.0
VARIABLES = {
    "$site": ".*",
    "$node": ".*",
    "$server": ".*",
    "$__rate_interval": "3s",
    "$__range": "1m",
}


@dataclass(frozen=True)
class Asked:
    """A query, and who asks it."""

    panel: str
    expression: str

    @property
    def substituted(self) -> str:
        """As Grafana would send it."""
        expression = self.expression
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        return expression


def read(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(DASHBOARDS[name].read_text())
    return parsed


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in read(name)["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Asked]:
    """All that panels and variables of all dashboards ask."""
    for name in DASHBOARDS:
        for panel in panels(name):
            for target in panel["targets"]:
                yield Asked(f"{name}: {panel['title']}", target["expr"])
        for variable in read(name)["templating"]["list"]:
            for series in re.findall(r"label_values\((.*), \w+\)", str(variable["query"])):
                yield Asked(f"{name}: ${variable['name']}", series)


def test_the_dashboards_are_what_the_code_builds() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk")
    from deploy.grafana.build import files

    built = files()
    assert set(built) == set(DASHBOARDS.values()), "run python -m deploy.grafana.build"
    assert [path.name for path, text in built.items() if path.read_text() != text] == []


def through_grafanas_types(dashboard: dict[str, Any]) -> dict[str, Any]:
    """Read and written by the types of its schema, which do not know what they were not told."""
    pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk")
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    again: dict[str, Any] = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    return again


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """What is in the one and not, or otherwise, in the other; defaults may be added."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [it for key in before for it in lost(before[key], after.get(key), f"{path}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [it for at, (one, other) in pairs for it in lost(one, other, f"{path}/{at}")]
    return [] if before == after else [path]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_schema_knows_all_of_it(name: str) -> None:
    assert lost(read(name), through_grafanas_types(read(name))) == []


def test_what_grafanas_schema_does_not_know_is_found() -> None:
    """The control."""
    dashboard = read("fleet")
    dashboard["panels"][0]["options"]["graphMood"] = "area"
    assert lost(dashboard, through_grafanas_types(dashboard)) == ["/panels/0/options/graphMood"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_panel_can_be_told_from_the_others(name: str) -> None:
    titles = [panel["title"] for panel in panels(name)]
    assert len(set(titles)) == len(titles)
    for panel in panels(name):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters)), panel["title"]


def test_links_and_runbooks_lead_somewhere() -> None:
    uids = {read(name)["uid"]: name for name in DASHBOARDS}
    linked = re.findall(r"/d/([\w-]+)\?", "".join(path.read_text() for path in DASHBOARDS.values()))
    assert linked
    assert set(linked) <= set(uids)
    titles = {read(name)["title"]: {panel["title"] for panel in panels(name)} for name in DASHBOARDS}
    text = "".join(path.read_text() for path in (ROOT / "docs/runbooks").glob("*.md"))
    named = re.findall(r"[Dd]ashboard \*(.+?)\*, \*(.+?)\*", text)
    assert named
    assert [(board, panel) for board, panel in named if panel not in titles[board]] == []


def test_every_metric_of_the_dashboards_exists() -> None:
    asked = {name for query in queries() for name in re.findall(r"\btidegate_\w+", query.expression)}
    assert asked
    assert asked - exported.metrics() == set()


def test_edge_and_cloud_stand_side_by_side() -> None:
    placed = {panel["title"]: panel["gridPos"] for panel in panels("edge-vs-cloud")}
    left, right = placed["Median latency"], placed["99th percentile of latency"]
    assert (left["y"], left["x"], left["w"], right["x"]) == (right["y"], 0, 12, 12)


def certified(folder: Path) -> Artifact:
    """An edge artifact with a certificate, and the cloud's in ``cloud``."""
    edge = edge_artifact(folder / "plain", cloud_artifact(folder / "cloud"))
    assert edge.manifest.cloud
    facts = preprocessing_id(edge.manifest)
    binding = Binding(
        edge=edge.sha256,
        cloud=edge.manifest.cloud,
        preprocessing=facts,
        cloud_preprocessing=facts,
        codec="tensor",
    )
    return write(
        certificate(binding=binding, threshold=0.8, grid=(0.9, 0.8), stricter=()), edge, folder / "edge"
    )


def pems(folder: Path) -> dict[str, str]:
    """A certificate for this machine, and the authority it is from."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, common_name="node")
    paths = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(paths["ca"]))
    issued.cert_chain_pems[0].write_to_path(str(paths["cert"]))
    issued.private_key_pem.write_to_path(str(paths["key"]))
    return {name: str(path) for name, path in paths.items()}


@dataclass(frozen=True)
class Live:
    """A fleet at work, and a Prometheus that watches it."""

    hybrid: NodeProcess
    cloud_only: NodeProcess
    url: str

    def values(self, expression: str) -> list[float]:
        """Of an instant query."""
        try:
            with urlopen(
                f"{self.url}/api/v1/query?{urlencode({'query': expression})}", timeout=WAIT
            ) as answer:
                found = json.load(answer)["data"]["result"]
        except HTTPError as error:
            pytest.fail(f"{expression}: {error.read().decode()}")
        return [float(series["value"][1]) for series in found]

    def knows(self, expression: str) -> bool:
        return any(map(math.isfinite, self.values(expression)))

    def says(self, expression: str, number: float) -> bool:
        """Whether it is this one number, or soon is: a scrape may be late."""
        return wait_until(lambda: self.values(expression) == [number], PATIENCE)

    def unknown(self, expressions: set[str]) -> set[str]:
        """Those that have found no number while the fleet worked; it ends as soon as all have."""
        left = set(expressions)

        def all_known() -> bool:
            self.hybrid.feed([SURE, UNSURE, SURE])
            self.cloud_only.feed([SURE] * 100)
            self.cloud_only.accounts()
            left.difference_update([it for it in left if self.knows(it)])
            return not left

        wait_until(all_known, PATIENCE)
        return left


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Live]:
    """Two nodes, and by mutual TLS a server that also stores and shows the fleet.

    One audits all that it keeps; the other keeps nothing: it knows soon what a cloud alone would take.
    """
    require("prometheus")
    with fleet(tmp_path_factory.mktemp("fleet"), broker) as running:
        yield running


@contextmanager
def fleet(folder: Path, broker: Broker) -> Iterator[Live]:
    certified(folder)
    tls = pems(folder)
    config = folder / "cloud.toml"
    config.write_text(
        f'[tls]\ncert = "{tls["cert"]}"\nkey = "{tls["key"]}"\nclient_ca = "{tls["ca"]}"\n'
        f'[fleet]\ndatabase = "sqlite:///{folder}/fleet.sqlite"\n'
        f'[fleet.mqtt]\nhost = "{broker.host}"\nport = {broker.port}\nroot = "kit"\n'
    )
    with ExitStack() as stack:
        server = stack.enter_context(process.started(folder, folder / "cloud", "--config", config))
        assert server.ready, server.log.read_text()

        def node(name: str, **sections: dict[str, Any]) -> NodeProcess:
            place = folder / name
            place.mkdir()
            (place / "edge").symlink_to(folder / "edge")
            settings: dict[str, dict[str, Any]] = {
                "node": {"site": "lab", "name": name},
                "cloud.tls": tls,
                "energy": {"device": "raspberry-pi-4", "radio": "wifi"},
                "metrics": {"port": 0, "snapshot": 0.5},
            }
            return stack.enter_context(
                edge_node(place, server.address, broker, "kit", **settings, **sections)
            )

        hybrid = node("hybrid", audit={"share": 1.0})
        cloud_only = node("cloud-only", gate={"policy": "always_cloud"})
        pages = {NodeId("lab", "hybrid"): page(hybrid.log())}
        watching = open_prometheus(folder, pages, [page(server.ready)], SCRAPES)
        yield Live(hybrid, cloud_only, stack.enter_context(watching).url)


def page(said: str) -> str:
    """Where a program says that its metrics are."""
    found = re.search(r"metrics on (http://[^\s,]+)", said)
    assert found, said
    return found[1]


def test_every_query_of_every_panel_finds_numbers(live: Live) -> None:
    asked = list(queries())
    unknown = live.unknown({query.substituted for query in asked})
    assert [query.panel for query in asked if query.substituted in unknown] == []


def test_every_recording_rule_finds_numbers(live: Live) -> None:
    from tests.deploy.test_kit_prometheus import RECORDS

    assert live.unknown(set(RECORDS)) == set()


def test_who_asks_for_what_is_not_there_finds_nothing(live: Live) -> None:
    """The control."""
    asked = Asked("", 'tidegate_samples_total{site=~"$site",node="nobody"}')
    assert not live.knows(asked.substituted)


def test_a_node_that_is_scraped_and_shown_by_the_fleet_counts_once(live: Live) -> None:
    assert live.says('count(tidegate_samples_total{node="hybrid"})', 2)
    asked = {query.panel: query.substituted for query in queries()}
    assert live.says(asked["fleet: Nodes online"], 2)
    live.unknown({'site_node:tidegate_offloaded:ratio5m{node="hybrid"}'})
    assert live.values('count(site_node:tidegate_offloaded:ratio5m{node="hybrid"})') == [1]
    assert live.says("count(up == 1)", 2)


def test_no_alert_fires_at_a_healthy_fleet(live: Live) -> None:
    live.unknown({"site_node:tidegate_offloaded:ratio5m"})
    assert live.values('ALERTS{alertstate="firing"}') == []
