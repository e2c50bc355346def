"""`edge-node top --once`: one frame of a real node, and one line where there is none."""

import re
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from edge_node.config import Metrics
from edge_node.metrics import Meter, serve
from protos.artifact import Artifact
from tests.edge_node.clouds import HOST, cloud
from tests.nodes import COMMAND, NodeProcess, finished, started, write_config

SURE, UNSURE = [0, 5, 0], [0, 0.5, 0]
SCREEN = {"COLUMNS": "80", "LINES": "24"}


def url(node: NodeProcess) -> str:
    """Where its metrics are."""
    found = re.search(r"metrics on (\S+)", node.log())
    assert found
    return found[1]


def frame(where: str, **environ: str) -> str:
    """What is shown of the node there."""
    ended = finished("top", where, "--once", stdin=b"", command=COMMAND, **{**SCREEN, **environ})
    assert (ended.code, ended.stderr) == (0, "")
    return ended.stdout


def row(shown: str, name: str) -> str:
    """The rest of the line that begins, or whose right half begins, with this."""
    found = re.search(rf"(?m)(?:^|   ){name}\s+(.*)", shown)
    assert found, shown
    return found[1]


def test_the_first_screen_shows_both_tiers_side_by_side(tmp_path: Path, artifact: Artifact) -> None:
    with cloud() as port:
        section = {"target": f"{HOST}:{port}", "model": "cloud", "deadline": 20.0}
        source = {"kind": "stdin"}
        config = write_config(tmp_path, artifact, cloud=section, source=source)
        with started(tmp_path, config) as node:
            node.feed([SURE, SURE, SURE, UNSURE])
            assert node.accounts() == {"confident": 3, "cloud": 1}
            shown = frame(url(node))
    lines = shown.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in shown
    assert re.search(r"edge 1 fp32 .* up \d+ s .* ● live", lines[0]), lines[0]
    assert "4 in all" in lines[2]
    for route in ("edge", "cloud", "all answers"):
        assert re.match(r"[\d.]+ m?s +[\d.]+ m?s +[\d.]+", row(shown, route)), row(shown, route)
    assert "Answers, 25.0 % offloaded" in shown
    assert "75.0 %  Edge was sure" in shown
    assert row(shown, "standing").startswith("No certificate")
    assert row(shown, "circuit").startswith("Closed, calls go through")
    assert row(shown, "held").startswith("no inputs")
    for name in ("epsilon", "delta", "audits", "e-value", "broker", "waiting", "dropped", "all-cloud"):
        assert row(shown, name)


def test_a_large_screen_has_more() -> None:
    with serve(Meter(), Metrics(port=0)) as port:
        small, large = frame(f"{HOST}:{port}"), frame(f"{HOST}:{port}", COLUMNS="120", LINES="40")
    assert "cloud alone, estimated" in large
    assert "cloud alone, estimated" not in small
    assert len(large.splitlines()) <= 40


def test_a_narrow_screen_has_one_column() -> None:
    with serve(Meter(), Metrics(port=0)) as port:
        shown = frame(f"{HOST}:{port}", COLUMNS="50")
    assert max(map(len, shown.splitlines())) <= 50
    assert re.search(r"(?m)^Certificate", shown)


def test_a_node_without_samples_is_starting() -> None:
    with serve(Meter(), Metrics(port=0)) as port:
        shown = frame(f"{HOST}:{port}")
    assert "● starting, no samples yet" in shown
    assert "none, since its start" in shown


def test_a_terminal_that_knows_only_ascii_gets_ascii() -> None:
    with serve(Meter(), Metrics(port=0)) as port:
        shown = frame(f"{HOST}:{port}", PYTHONIOENCODING="ascii")
        assert not frame(f"{HOST}:{port}", PYTHONIOENCODING="utf-8").isascii()
    assert shown.isascii()
    assert "* starting, no samples yet" in shown


def test_hostile_names_are_text() -> None:
    meter = Meter()
    meter.model.info({"name": "\x1b[31m[bold]x[/bold]\x07", "version": "1\n2", "precision": "int8"})
    meter.dropped_results.labels("\x1b]0;owned\x07").inc(3)
    with serve(meter, Metrics(port=0)) as port:
        shown = frame(f"{HOST}:{port}", COLUMNS="120")
    assert "\x1b" not in shown
    assert "?[31m[bold]x[/bold]? 1?2 int8" in shown


def test_what_a_node_does_not_say_is_unknown() -> None:
    registry = CollectorRegistry()
    Counter("tidegate_samples", "of a node that says no more", registry=registry).inc(5)
    server, thread = start_http_server(0, HOST, registry)
    try:
        shown = frame(f"{HOST}:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "up - " in shown
    assert "5 in all" in shown
    assert "nan" not in shown


def test_what_is_wrong_is_said_in_words() -> None:
    meter = Meter()
    meter.samples.inc()
    meter.circuit_state.set(2)
    meter.standing.labels("drift").set(1)
    meter.suspicion.set(2000)
    meter.queued.set(12)
    meter.queued_bytes.set(3400)
    meter.queued_age.set(75)
    meter.dropped["bytes"].inc(7)
    meter.energy.labels("estimated", "idle").inc(4000)
    with serve(meter, Metrics(port=0)) as port:
        shown = frame(f"{HOST}:{port}")
    assert row(shown, "circuit").startswith("Open, cloud is not asked")
    assert row(shown, "standing") == "Drift, promise withdrawn"
    assert row(shown, "e-value") == "2,000, alarm at 1,000"
    assert row(shown, "broker") == "Away, results wait"
    assert row(shown, "waiting") == "12, 3.40 kB, oldest 1 min"
    assert row(shown, "dropped") == "7 no room"
    assert row(shown, "power").endswith("estimated")
    assert row(shown, "in all") == "4.00 kJ"


def said(*arguments: str | Path) -> str:
    """The one line in which it gives up."""
    ended = finished("top", *arguments, stdin=b"", command=COMMAND, **SCREEN)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended
    return ended.stderr


def test_a_node_that_does_not_run_is_one_line() -> None:
    assert said("127.0.0.1:1", "--once").startswith(
        "edge-node: http://127.0.0.1:1/metrics: connection refused; is the node running?"
    )


def test_metrics_of_something_else_are_no_node_s() -> None:
    server, thread = start_http_server(0, HOST, CollectorRegistry())
    try:
        line = said(f"{HOST}:{server.server_port}", "--once")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "these are not the metrics of a node" in line


@pytest.mark.parametrize("given", ["ftp://pi", "pi:99999", "pi: 1", "http://"])
def test_an_address_that_is_none_is_said(given: str) -> None:
    assert "is no address of metrics: HOST:PORT or http://HOST:PORT/metrics" in said(given, "--once")


def test_a_port_that_only_the_node_knows_is_said(tmp_path: Path, artifact: Artifact) -> None:
    assert "[metrics] port is 0" in said("--config", write_config(tmp_path, artifact), "--once")


def test_without_rich_it_says_what_to_install() -> None:
    script = "import sys; sys.modules['rich'] = None; from edge_node.cli import main; main(['top'])"
    ended = finished("-c", script, command=[sys.executable])
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == "edge-node: rich is not installed: pip install 'tidegate[top]'\n"
