"""Node, cloud server and broker together: what is sure stays, what is not rises, all of it is published."""

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from PIL import Image

from deploy.demo.broker import Broker
from edge_node.prepare.pack import Facts, pack
from protos import result as contract
from protos.artifact import CloudModel, Gate, ImageInput
from protos.result import Result
from tests import ledger
from tests.cloud_server import graphs
from tests.integration.fleet import SURE, UNSURE, artifacts, cloud_server, edge_node
from tests.ledger import results_by_reason, value
from tests.models import LABELS
from tests.mqtt import publish, subscribed
from tests.services import require

ROOT = "cascade"
FED = [SURE, UNSURE, "no sample"] * 5
VALIDATOR = jsonschema.Draft202012Validator(contract.schema())


@dataclass(frozen=True)
class Run:
    """What one run of the three left."""

    payloads: list[bytes]
    node: str
    """`/metrics` of the node."""
    server: str
    """`/metrics` of the cloud server."""

    @property
    def results(self) -> list[Result]:
        return [contract.decode(payload) for payload in self.payloads]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Run:
    folder = artifacts(tmp_path_factory.mktemp("cascade"))
    with (
        subscribed(broker, f"{ROOT}/lab/a/result") as inbox,
        cloud_server(folder) as server,
        edge_node(folder, server.address, broker, ROOT) as node,
    ):
        node.feed(FED)
        node.accounts()
        payloads = [bytes(inbox.get().payload) for _ in FED]
        return Run(payloads, node.metrics(), "\n".join(server.metrics()) + "\n")


def test_what_is_sure_stays_and_what_is_not_rises(run: Run) -> None:
    assert results_by_reason(run.node) == {"confident": 5, "cloud": 5, "invalid_sample": 5}
    assert {(result.reason, result.route, result.label) for result in run.results} == {
        ("confident", "edge", "green"),
        ("cloud", "cloud", "green"),
        ("invalid_sample", "edge", None),
    }


def test_every_sample_has_one_result_on_the_broker(run: Run) -> None:
    assert sorted(result.seq for result in run.results) == list(range(len(FED)))
    assert len({result.id for result in run.results}) == len(FED)


def test_every_payload_on_the_broker_is_valid_against_the_schema(run: Run) -> None:
    for payload in run.payloads:
        VALIDATOR.validate(msgspec.json.decode(payload))


def test_the_cloud_is_surer_than_the_edge_was(run: Run) -> None:
    for result in run.results:
        if result.cloud is not None:
            assert result.edge is not None
            assert result.edge.confidence < 0.8 < result.cloud.confidence == result.confidence


def inferences(server: str) -> float:
    """Over the stream, and by calls of their own."""
    series = ledger._samples(server, "tidegate_requests_total")
    return sum(it for labels, it in series if labels["method"].endswith("Infer") and labels["code"] == "OK")


def test_both_sides_count_the_same_calls(run: Run) -> None:
    assert inferences(run.server) == 5
    assert value(run.node, "tidegate_stage_duration_seconds_count", stage="cloud") == 5
    assert value(run.node, "tidegate_cloud_payload_bytes_total", direction="sent") == 5 * 3 * 4


@pytest.mark.parametrize("side", ["node", "server"])
def test_prometheus_accepts_the_metrics_of_both_sides(run: Run, side: str) -> None:
    text: str = getattr(run, side)
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_sensors_on_the_broker_are_classified_whatever_they_send(
    folder: Path, broker: Broker, root: str
) -> None:
    with (
        subscribed(broker, f"{root}/lab/a/status") as statuses,
        subscribed(broker, f"{root}/lab/a/result") as results,
        cloud_server(folder) as server,
        edge_node(
            folder, server.address, broker, root, source={"kind": "mqtt", "topic": f"{root}/+"}
        ) as node,
    ):
        assert statuses.status()["state"] == "online"
        for payload in (b"[0, 5, 0]", b"[0, 0.5, 0]", b"21.5 degrees", b"[" * 9_999):
            publish(broker, f"{root}/sensor", payload, retain=True)
            node.fed += 1
        found = results.results(4)
        assert node.accounts() == {"confident": 1, "cloud": 1, "invalid_sample": 2}
    assert {result.sample for result in found} == {f"{root}/sensor"}


def photo(path: Path, channel: int, brightness: int) -> None:
    """A JPEG, larger than the model takes, of nearly one colour."""
    pixels = np.full((40, 60, 3), 100, np.uint8)
    pixels[..., channel] = brightness
    Image.fromarray(pixels).save(path, "JPEG")


def image_artifacts(folder: Path) -> None:
    """An edge and a cloud that take images."""
    cloud = graphs.colour(folder / "cloud")
    facts = Facts(
        name="edge",
        precision="fp32",
        labels=LABELS,
        preprocessing=ImageInput(size=graphs.SIZE),
        gate=Gate(temperature=10.0, threshold=0.9),
        cloud=CloudModel(name=cloud.manifest.name, sha256=cloud.sha256),
    )
    pack(folder / "edge", cloud.model, facts, cloud.vectors[0])


def test_camera_images_travel_as_they_are_and_a_broken_one_is_told(
    tmp_path: Path, broker: Broker, root: str
) -> None:
    image_artifacts(tmp_path)
    photo(tmp_path / "sure.jpg", 0, 250)
    photo(tmp_path / "unsure.jpg", 1, 110)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "sure.jpg").read_bytes()[:300])
    with (
        subscribed(broker, f"{root}/lab/a/result") as results,
        cloud_server(tmp_path) as server,
        edge_node(tmp_path, server.address, broker, root) as node,
    ):
        node.feed({"file": str(tmp_path / f"{name}.jpg")} for name in ("sure", "unsure", "broken"))
        found = {Path(result.sample).stem: result for result in results.results(3)}
        sent = value(node.metrics(), "tidegate_cloud_payload_bytes_total", direction="sent")
    assert {name: (result.reason, result.label) for name, result in found.items()} == {
        "sure": ("confident", "red"),
        "unsure": ("cloud", "green"),
        "broken": ("invalid_sample", None),
    }
    assert str(found["broken"].error).startswith("image cannot be decoded: ")
    assert sent == 4 + (tmp_path / "unsure.jpg").stat().st_size


def test_mosquitto_sub_beside_it_shows_birth_results_and_last_will(
    folder: Path, broker: Broker, root: str
) -> None:
    program = str(require("mosquitto_sub"))
    topics = "-t", f"{root}/#", "-T", f"{root}/+/+/metrics"
    command = [program, "-v", "-p", str(broker.port), *topics, "-C", "4"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher,
        cloud_server(folder) as server,
        edge_node(folder, server.address, broker, root) as node,
    ):
        assert watcher.stdout
        lines = (line.partition(" ")[::2] for line in watcher.stdout)
        topic, birth = next(lines)
        assert (topic, json.loads(birth)["state"]) == (f"{root}/lab/a/status", "online")
        node.feed([SURE, UNSURE])
        for topic, payload in (next(lines), next(lines)):
            assert topic == f"{root}/lab/a/result"
            VALIDATOR.validate(json.loads(payload))
        node.accounts()
        node.signal(signal.SIGKILL)
        node.wait()
        topic, will = next(lines)
        assert (topic, json.loads(will)["state"]) == (f"{root}/lab/a/status", "offline")
        assert json.loads(will)["session"] == json.loads(birth)["session"]
