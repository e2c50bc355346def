"""What the page asks the server for, and what strangers get."""

import json
from dataclasses import replace
from math import nan
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from msgspec import structs

from cloud_server.config import Dashboard
from cloud_server.dashboard import alerts
from cloud_server.dashboard.alerts import Usual
from cloud_server.dashboard.app import HEADERS
from cloud_server.dashboard.promise import promise
from cloud_server.dashboard.serving import serve
from cloud_server.dashboard.view import PAGE, Query, View
from cloud_server.errors import ListenError
from cloud_server.fleet.devices import Device, Devices
from cloud_server.fleet.figures import Figures
from cloud_server.fleet.history import History
from tests.cloud_server.dashboard.conftest import Shown
from tests.cloud_server.dashboard.simulated import MadeUp, simulate


def asked(shown: Shown, what: str, **query: object) -> Any:
    with urlopen(f"{shown.url}api/{what}?{urlencode(query)}") as answer:
        return json.load(answer)


def refused(shown: Shown, path: str, **headers: str) -> tuple[int, str]:
    with pytest.raises(HTTPError) as refusal, urlopen(Request(f"{shown.url}{path}", headers=headers)):
        pass
    with refusal.value as answer:
        return answer.code, answer.read().decode()


def test_the_overview_adds_up(shown: Shown) -> None:
    found = asked(shown, "overview", range=3600)
    charts = found["charts"]
    counted = sum(node.counts["samples"] for node in shown.simulation.nodes if node.trouble != "silent")
    assert sum(found["states"].values()) == len(shown.simulation.nodes)
    assert sum(charts["reasons"].values()) == pytest.approx(charts["samples"], rel=1e-4)
    assert 0.8 * counted < charts["samples"] <= counted
    assert charts["reasons"]["cloud"] / sum(charts["reasons"].values()) == pytest.approx(
        charts["offload"], rel=1e-4
    )
    assert 0 < charts["bytes"]["actual"] < charts["bytes"]["cloud_only"]
    assert charts["edge_only"]["p50"] < charts["hybrid"]["p50"] < charts["cloud_only"]["p50"]
    assert len({len(charts[name]) for name in ("at", "edge_rate", "offload_over_time", "disagreement")}) == 1


def test_one_device_is_shown_alone(shown: Shown) -> None:
    node = shown.simulation.nodes[0]
    found = asked(shown, "device", site=node.key.site, node=node.key.node)
    assert found["device"]["node"] == node.key.node
    assert found["promise"]["grounds"] == {"valid": 1}
    assert found["charts"]["samples"] <= node.counts["samples"]


def test_what_nobody_knows_is_null_and_not_a_number(shown: Shown) -> None:
    silent = next(node.key for node in shown.simulation.nodes if node.trouble == "silent")
    found = asked(shown, "device", site=silent.site, node=silent.node)
    assert found["device"]["figures"] is None
    assert found["promise"]["epsilon"] is None


def test_the_table_comes_in_pages(shown: Shown) -> None:
    pages = [asked(shown, "devices", order="device", down=False, page=page) for page in range(3)]
    names = [(row["site"], row["node"]) for page in pages for row in page["rows"]]
    assert names == sorted((node.key.site, node.key.node) for node in shown.simulation.nodes)
    assert [len(page["rows"]) for page in pages] == [PAGE, PAGE, 60 - 2 * PAGE]
    assert asked(shown, "devices", page=99)["page"] == 2


@pytest.mark.parametrize("order", ["offload", "p99", "outbox", "samples"])
@pytest.mark.parametrize("down", [True, False])
def test_what_is_not_known_comes_last_either_way(shown: Shown, order: str, *, down: bool) -> None:
    column = {"outbox": "queued"}.get(order, order)
    pages = [asked(shown, "devices", order=order, down=down, page=page) for page in range(3)]
    values = [row[column] for page in pages for row in page["rows"]]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=down)
    assert None in values
    assert values[: len(known)] == known


def test_a_search_finds_devices_by_what_their_rows_say(shown: Shown) -> None:
    assert asked(shown, "devices", search="CAM-013")["matching"] == 1
    assert {row["state"] for row in asked(shown, "devices", show="silent")["rows"]} == {"silent"}
    lost = asked(shown, "devices", search="results lost")["rows"]
    assert {row["node"] for row in lost} == {"cam-033"}
    assert asked(shown, "devices", search="drift")["matching"] == 1
    assert asked(shown, "devices", search="no such thing")["rows"] == []


def test_every_trouble_is_told(shown: Shown) -> None:
    rows = asked(shown, "devices", show="attention")["rows"]
    told = {row["node"]: {alert["id"] for alert in row["alerts"]} for row in rows}
    assert told == {
        "cam-003": {"silent"},
        "cam-008": {"model"},
        "cam-013": {"circuit", "promise"},
        "cam-023": {"outbox"},
        "cam-033": {"dropped", "outbox"},
        "cam-053": {"promise"},
    }
    assert asked(shown, "devices")["attention"] == len(rows)


def test_a_healthy_fleet_needs_no_attention() -> None:
    view = View(simulate(20, 120, healthy=True).fleet)
    assert view.devices(Query(show="attention")).rows == []


def test_of_the_same_model_the_usual_content_is_right() -> None:
    devices = simulate(9, 30).fleet.devices.table()
    usual = Usual(devices)
    assert [device.node for device in devices if alerts.MODEL in alerts.of(device, usual)] == ["cam-008"]


def test_agreement_weighs_devices_by_what_they_kept() -> None:
    device = simulate(1, 60).fleet.devices.table()[0]
    small = replaced(device, answered_by_edge=100.0, disagreement=0.5)
    large = replaced(device, answered_by_edge=900.0, disagreement=0.0)
    unknown = replaced(device, answered_by_edge=900.0, disagreement=nan)
    assert promise([small, large, unknown]).agreement == pytest.approx(0.95)
    assert promise([small]).low == pytest.approx(1 - small.disagreement_high)


def replaced(device: Device, **figures: float) -> Figures:
    assert device.figures
    return structs.replace(device.figures, **figures)


def test_strangers_are_refused_in_a_line(shown: Shown) -> None:
    assert refused(shown, "api/device?site=a&node=b") == (404, "no such device")
    code, why = refused(shown, "api/devices?order=up")
    assert code == 400
    assert "order" in why
    assert refused(shown, "api/overview?range=1e9")[0] == 400
    assert refused(shown, "api/../../../config.py")[0] == 404


def test_the_page_answers_only_under_its_own_names(shown: Shown) -> None:
    """A page elsewhere could make its name point here, and read the answers: DNS rebinding."""
    assert refused(shown, "api/overview", Host="evil.example:9466")[0] == 421
    assert refused(shown, "", Host="[")[0] == 421
    for host in ("localhost", "127.0.0.1:9466", "[::1]:9466"):
        with urlopen(Request(f"{shown.url}api/overview", headers={"Host": host})) as answer:
            assert answer.status == 200


def test_a_proxy_may_have_a_name(shown: Shown) -> None:
    with (
        serve(Dashboard(port=0, names=("Fleet.example",)), shown.simulation.fleet) as url,
        urlopen(Request(url, headers={"Host": "fleet.example"})) as answer,
    ):
        assert answer.status == 200


@pytest.mark.parametrize("path", ["", "app.js", "look.css", "api/overview"])
def test_browsers_are_told_to_be_careful(shown: Shown, path: str) -> None:
    with urlopen(f"{shown.url}{path}") as answer:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "server" not in answer.headers


def test_answers_are_small(shown: Shown) -> None:
    for what, most in (("overview", 20_000), ("devices", 5_000)):
        request = Request(f"{shown.url}api/{what}", headers={"Accept-Encoding": "gzip"})
        with urlopen(request) as answer:
            assert len(answer.read()) < most


def test_a_port_that_is_taken_is_said(shown: Shown) -> None:
    port = int(shown.url.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(ListenError, match=r"\[dashboard\]"),
        serve(Dashboard(port=port), shown.simulation.fleet),
    ):
        pass


def test_an_empty_fleet_has_figures_that_nobody_knows() -> None:
    view = View(MadeUp(Devices(10, 100), History()))
    assert sum(view.overview(Query()).states.values()) == 0
    assert view.devices(Query()).rows == []


def test_a_lost_broker_is_told(shown: Shown) -> None:
    deaf = replace(shown.simulation.fleet, hearing=lambda: False)
    assert not View(deaf).overview(Query()).hearing
