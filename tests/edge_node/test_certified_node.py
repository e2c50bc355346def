"""A node whose artifact carries a certificate: audited, labelled, withdrawn and restored, over restarts."""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from paho.mqtt.publish import multiple

from deploy.demo.broker import Broker
from deploy.demo.processes import HOST as LOOPBACK
from deploy.demo.processes import wait_until
from edge_node.assembly import STANDING
from edge_node.gate.certificate import Binding
from edge_node.gate.eprocess import audits_to_detect
from edge_node.node import EdgeNode
from edge_node.prepare.certify.write import write
from protos.artifact import Artifact, preprocessing_id
from protos.result import Result
from tests.edge_node.clouds import HOST, answer, cloud
from tests.gate.certificates import certificate
from tests.ledger import exposition, value
from tests.models import cloud_artifact, edge_artifact
from tests.mqtt import PATIENCE, subscribed
from tests.nodes import finished, opened, settings, write_config

STANDS = "tidegate_certificate_standing"
SURE = np.array([0, 5, 0], np.float32)


def certify(tmp_path: Path, q0: float) -> Artifact:
    """An edge artifact whose certificate allows so much disagreement, and has no stricter threshold."""
    edge = edge_artifact(tmp_path / "edge", cloud_artifact(tmp_path / "cloud"))
    assert edge.manifest.cloud
    binding = Binding(
        edge=edge.sha256,
        cloud=edge.manifest.cloud,
        preprocessing=preprocessing_id(edge.manifest),
        cloud_preprocessing=preprocessing_id(edge.manifest),
        codec="tensor",
    )
    return write(certificate(binding=binding, q0=q0, stricter=()), edge, tmp_path / "certified")


@pytest.fixture
def certified(tmp_path: Path) -> Artifact:
    """One that promises a lot."""
    return certify(tmp_path, 0.01)


Sections = dict[str, dict[str, Any]]


@pytest.fixture
def sections(tmp_path: Path, broker: Broker, root: str) -> Callable[[int], Sections]:
    """Settings of a node that audits every answer, by the port of its cloud."""

    def made(port: int) -> Sections:
        return {
            "cloud": {"target": f"{HOST}:{port}", "model": "cloud", "deadline": 20.0},
            "audit": {"share": 1.0},
            "mqtt": {"host": broker.host, "port": broker.port, "root": root},
            "outbox": {"path": str(tmp_path / "outbox"), "linger": 0.01},
        }

    return made


def metric(node: EdgeNode, name: str, **labels: str) -> float:
    return value(exposition(node.meter.registry), name, **labels)


def audited(node: EdgeNode, count: int) -> bool:
    return wait_until(lambda: metric(node, "tidegate_audits", outcome="answered") >= count, PATIENCE)


def kept(node: EdgeNode) -> bool:
    """Whether the edge answers for another sure sample."""
    return node.infer(SURE).reason == "confident"


def contrary(*_: object) -> bytes:
    """A cloud that says red."""
    return answer(np.eye(3, dtype=np.float32)[:1])


def test_an_audit_changes_no_answer_and_an_alarm_withdraws_the_promise_for_good(
    certified: Artifact, sections: Callable[[int], Sections], tmp_path: Path
) -> None:
    with cloud(contrary) as port:
        with opened(settings(tmp_path, certified, **sections(port))) as node:
            assert metric(node, STANDS, ground="valid") == 1
            first = node.infer(SURE)
            assert (first.reason, first.label) == ("confident", "green")
            assert wait_until(lambda: not kept(node) and metric(node, STANDS, ground="drift") == 1, PATIENCE)
            assert node.infer(SURE).reason == "cloud"  # no stricter threshold is left: the cloud answers
        with opened(settings(tmp_path, certified, **sections(port))) as node:
            assert metric(node, STANDS, ground="drift") == 1
    (tmp_path / "outbox" / STANDING).unlink()
    with opened(settings(tmp_path, certified, **sections(1))) as node:
        assert metric(node, STANDS, ground="valid") == 1  # it was the file that knew


def test_the_birth_message_tells_the_promise_and_how_it_stands(
    certified: Artifact, sections: Callable[[int], Sections], tmp_path: Path, broker: Broker, root: str
) -> None:
    with (
        subscribed(broker, f"{root}/lab/a/status") as inbox,
        opened(settings(tmp_path, certified, **sections(1))),
    ):
        birth = inbox.status()
    assert birth["certificate"] == {
        "promise": "drop",
        "epsilon": 0.02,
        "delta": 0.05,
        "offload": 0.3,
        "verdict": "Made up.",
        "standing": "valid",
        "audited": 1.0,
        "audits_to_detect": pytest.approx(audits_to_detect(0.01, 0.02)),
    }


def test_show_tells_how_it_stands_on_a_node(
    certified: Artifact,
    sections: Callable[[int], Sections],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with cloud() as port, opened(settings(tmp_path, certified, **sections(port))) as node:
        node.infer(SURE)
        assert audited(node, 1)
        where = caplog.text.partition("metrics on ")[2].split()[0]
        ended = finished("certificate", "show", certified.directory, "--node", where)
        told = dict(line.split(None, 1) for line in ended.stdout.splitlines()[1:])
    assert (ended.code, ended.stderr) == (0, "")
    assert told["valid"] == "yes"
    assert told["stands"] == "Valid, the promise stands"
    assert told["loses"].startswith("2 points at most")
    assert told["audits"] == "1 answered, 0 missing; 100.0 % of the samples"
    assert told["differ"].startswith("0.0 % of the kept (0.0 % to 97.5 %)")
    assert told["e-value"].endswith("alarm at 1,000")
    assert re.match(r"twice as many in [\d,]+ audits, [\d,]+ inputs$", told["detects"])


def test_a_node_that_is_not_there_is_one_line(certified: Artifact) -> None:
    ended = finished("certificate", "show", certified.directory, "--node", f"{LOOPBACK}:1")
    assert ended.code == 2
    assert len(ended.stderr.splitlines()) == 1


@pytest.fixture
def answered(
    sections: Callable[[int], Sections], tmp_path: Path
) -> Iterator[tuple[EdgeNode, list[Result], Path]]:
    """A node, results of which its cloud has said the contrary, and the file of its settings."""
    tolerant = certify(tmp_path, 0.7)
    with cloud(contrary) as port, opened(settings(tmp_path, tolerant, **sections(port))) as node:
        results = []
        for count in range(1, 6):
            results.append(node.infer(SURE))
            assert audited(node, count)
        yield node, results, write_config(tmp_path, tolerant, **sections(port))


def told(node: EdgeNode, outcome: str, count: int) -> bool:
    return wait_until(lambda: metric(node, "tidegate_labels_total", outcome=outcome) == count, PATIENCE)


def test_labels_arrive_by_a_command(answered: tuple[EdgeNode, list[Result], Path]) -> None:
    node, results, config = answered
    lines = [f"{it.id},green" for it in results] + ["lab.a.1.99,green", f"{results[0].id},mauve"]
    ended = finished("label", "--config", config, stdin="\n".join(lines).encode())
    assert (ended.code, ended.stdout) == (0, "sent 7 labels\n"), ended.stderr
    assert told(node, "used", 5)
    assert told(node, "unknown", 1)
    assert told(node, "invalid", 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("green", "line 1: 'green'"),
        ("lab.a.1.0", "line 1"),
        ("a,b,c", "line 1"),
        ("x,green", "line 1: 'x,green'"),
    ],
)
def test_a_line_that_is_no_label_is_named(
    answered: tuple[EdgeNode, list[Result], Path], line: str, problem: str
) -> None:
    ended = finished("label", "--config", answered[2], stdin=line.encode())
    assert (ended.code, ended.stdout) == (2, "")
    assert problem in ended.stderr


def test_a_message_that_is_no_label_is_counted_and_does_no_harm(
    answered: tuple[EdgeNode, list[Result], Path], broker: Broker, root: str
) -> None:
    node, results, _ = answered
    bodies = [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"id":1}',
        msgspec.json.encode({"id": results[0].id, "label": "red"}),
    ]
    multiple(
        [(f"{root}/lab/a/label", body, 1, False) for body in bodies], hostname=broker.host, port=broker.port
    )
    assert told(node, "used", 1)
    assert told(node, "invalid", 4)


def test_labels_for_a_broker_that_is_not_there_are_one_line(tmp_path: Path, certified: Artifact) -> None:
    config = write_config(tmp_path, certified, mqtt={"host": LOOPBACK, "port": 1})
    ended = finished("label", "--config", config, stdin=b"lab.a.1.0,green")
    assert ended.code == 2
    assert ended.stderr.startswith(f"edge-node: broker {LOOPBACK}:1: ")
