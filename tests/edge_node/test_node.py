"""The whole path of a sample in this process, through the Python API: each sample has its one result."""

import math
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deploy.demo.processes import wait_until
from edge_node.errors import ModelMismatch, NodeError, OutdatedError
from edge_node.node import EdgeNode
from protos import result as contract
from protos.artifact import Artifact
from protos.result import Result
from tests.edge_node.clouds import HOST, cloud
from tests.fakes import Kept
from tests.ledger import exposition, results_by_reason, value
from tests.models import cloud_artifact, edge_artifact, logarithm, particular
from tests.nodes import PATIENCE, opened, settings, write_config

SURE, UNSURE = np.array([0, 5, 0], np.float32), np.array([0, 0.5, 0], np.float32)
IN_FLIGHT = "tidegate_deferrals_in_flight"
VALIDATOR = jsonschema.Draft202012Validator(contract.schema())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, artifact: Artifact) -> Iterator[EdgeNode]:
    """Edge-only."""
    with opened(settings(tmp_path_factory.mktemp("node"), artifact)) as node:
        yield node


def reasons(node: EdgeNode) -> dict[str, int]:
    return results_by_reason(exposition(node.meter.registry))


def to(port: int, **more: Any) -> dict[str, Any]:
    """A section [cloud] for a server in this process."""
    return {"target": f"{HOST}:{port}", "model": "cloud", "deadline": 20.0, **more}


def test_a_sure_edge_answers_itself(node: EdgeNode) -> None:
    result = node.infer(SURE, "door")
    assert (result.sample, result.route, result.reason) == ("door", "edge", "confident")
    assert (result.label, result.class_index) == ("green", 1)
    assert result.edge == contract.Answer(label="green", confidence=result.confidence or 0)
    assert (result.cloud, result.latency_ms.cloud, result.error) == (None, None, None)


def test_an_unsure_edge_without_a_cloud_answers_as_best_it_can(node: EdgeNode) -> None:
    result = node.infer(UNSURE)
    assert (result.route, result.reason, result.label) == ("edge", "edge_only", "green")


def test_an_unsure_edge_asks_the_cloud(tmp_path: Path, artifact: Artifact) -> None:
    with cloud() as port, opened(settings(tmp_path, artifact, cloud=to(port))) as node:
        result = node.infer(UNSURE)
    assert (result.route, result.reason, result.label) == ("cloud", "cloud", "green")
    assert result.edge is not None
    assert result.cloud is not None
    assert result.confidence == result.cloud.confidence > result.edge.confidence
    assert result.latency_ms.cloud is not None
    assert result.latency_ms.total >= result.latency_ms.cloud


def test_a_degraded_result_says_why(tmp_path: Path, artifact: Artifact) -> None:
    with cloud() as port:
        pass
    with opened(settings(tmp_path, artifact, cloud=to(port))) as node:
        result = node.infer(UNSURE)
        assert reasons(node) == {"circuit_open": 1}
    assert (result.route, result.reason, result.label, result.cloud) == (
        "edge",
        "circuit_open",
        "green",
        None,
    )
    assert result.error is not None


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (np.zeros(2), "shape [2], the model takes [3]"),
        (np.array([0, math.nan, 0]), "has NaN or infinite values"),
        (b"1234", "4 raw bytes, float32 [3] needs 12"),
    ],
)
def test_a_sample_that_is_none_has_a_result_without_an_answer(node: EdgeNode, data: Any, error: str) -> None:
    result = node.infer(data)
    assert (result.reason, result.error) == ("invalid_sample", error)
    assert (result.label, result.class_index, result.confidence, result.edge) == (None, None, None, None)


def test_whatever_is_given_has_its_one_result(node: EdgeNode) -> None:
    dtypes = hnp.scalar_dtypes() | st.just(np.dtype(object))

    @given(st.binary(max_size=20) | hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)))
    def gives(data: Any) -> None:
        VALIDATOR.validate(msgspec.json.decode(contract.encode(node.infer(data))))

    gives()


def test_raw_bytes_are_a_sample(node: EdgeNode) -> None:
    assert node.infer(SURE.tobytes()).label == "green"


def test_logits_that_are_no_numbers_are_never_confident(tmp_path: Path) -> None:
    artifact = edge_artifact(tmp_path / "edge", model=logarithm(tmp_path / "log.onnx"))
    with opened(settings(tmp_path, artifact, gate={"policy": "always_edge"})) as node:
        assert node.infer(np.array([-1, 1, 1], np.float32)).reason == "edge_only"
        assert node.infer(np.array([1, 9, 1], np.float32)).reason == "confident"


def test_a_sample_that_the_model_cannot_run_on_is_invalid(tmp_path: Path) -> None:
    artifact = edge_artifact(tmp_path / "edge", model=particular(tmp_path / "particular.onnx"))
    with opened(settings(tmp_path, artifact)) as node:
        result = node.infer(np.zeros(4, np.float32))
        assert node.infer(SURE).label == "green"
    assert result.reason == "invalid_sample"
    assert result.error is not None
    assert result.error.startswith("the model cannot run on shape [4]: ")


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ({"policy": "always_edge"}, {"confident": 2}),
        ({"policy": "always_cloud"}, {"cloud": 2}),
        ({"threshold": 0.0}, {"confident": 2}),
        ({"threshold": 1.0}, {"cloud": 2}),
        ({}, {"confident": 1, "cloud": 1}),
    ],
    ids=str,
)
def test_the_gate_is_the_artifact_s_unless_the_settings_say_otherwise(
    tmp_path: Path, artifact: Artifact, gate: dict[str, Any], expected: dict[str, int]
) -> None:
    with cloud() as port, opened(settings(tmp_path, artifact, cloud=to(port), gate=gate)) as node:
        node.infer(SURE)
        node.infer(UNSURE)
        assert reasons(node) == expected


def test_results_are_numbered_and_named_uniquely(node: EdgeNode) -> None:
    results = [node.infer(SURE) for _ in range(3)]
    first = results[0].seq
    assert [result.seq for result in results] == [first, first + 1, first + 2]
    assert len({result.id for result in results}) == 3
    assert [result.captured_at for result in results] == sorted(result.captured_at for result in results)


def test_every_kind_of_result_is_valid_against_the_schema(tmp_path: Path, artifact: Artifact) -> None:
    with cloud() as port, opened(settings(tmp_path, artifact, cloud=to(port))) as node:
        for data in (SURE, UNSURE, b"bad"):
            VALIDATOR.validate(msgspec.json.decode(contract.encode(node.infer(data))))


def test_what_is_delivered_is_also_published(tmp_path: Path, artifact: Artifact) -> None:
    kept = Kept()
    with opened(settings(tmp_path, artifact), kept) as node:
        assert [node.infer(SURE), node.infer(UNSURE)] == kept.results


def test_many_threads_may_ask_one_node(tmp_path: Path, artifact: Artifact) -> None:
    results: list[Result] = []
    with cloud() as port, opened(settings(tmp_path, artifact, cloud=to(port))) as node:

        def ask() -> None:
            results.extend(node.infer(data) for data in (SURE, UNSURE) * 20)

        threads = [Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert reasons(node) == {"confident": 80, "cloud": 80}
    assert sorted(result.seq for result in results) == list(range(160))


def test_a_source_is_run_to_its_end(tmp_path: Path, artifact: Artifact) -> None:
    np.save(tmp_path / "rows.npy", np.stack([SURE, UNSURE, SURE]))
    kept = Kept()
    source = {"kind": "array", "path": "rows.npy"}
    with opened(settings(tmp_path, artifact, source=source), kept) as node:
        node.run(Event())
        assert reasons(node) == {"confident": 2, "edge_only": 1}
    assert [result.sample for result in kept.results] == ["0", "1", "2"]


def test_a_set_stop_ends_a_run(tmp_path: Path, artifact: Artifact) -> None:
    np.save(tmp_path / "rows.npy", np.stack([SURE]))
    stop = Event()

    class Stopping(Kept):
        def publish(self, result: Result, **more: Any) -> None:
            super().publish(result, **more)
            stop.set()

    kept = Stopping()
    source = {"kind": "array", "path": "rows.npy", "repeat": True}
    with opened(settings(tmp_path, artifact, source=source), kept) as node:
        node.run(stop)
    assert len(kept.results) == 1


def test_a_node_opens_from_the_path_of_its_settings(tmp_path: Path, artifact: Artifact) -> None:
    with EdgeNode.open(str(write_config(tmp_path, artifact))) as node:
        assert node.infer(SURE).label == "green"


def test_a_node_without_a_source_has_nothing_to_run_on(node: EdgeNode) -> None:
    with pytest.raises(NodeError, match=r"nothing to run on: set a section \[source\]"):
        node.run(Event())


def test_an_artifact_without_a_gate_needs_a_threshold(tmp_path: Path) -> None:
    artifact = cloud_artifact(tmp_path / "gateless")
    with (
        pytest.raises(NodeError, match=r"no threshold for policy threshold: set \[gate\] threshold$"),
        opened(settings(tmp_path, artifact)),
    ):
        pass
    with opened(settings(tmp_path, artifact, gate={"threshold": 0.5})) as node:
        assert node.infer(SURE).reason == "confident"


def test_a_cloud_with_another_model_stops_the_start(tmp_path: Path) -> None:
    artifact = edge_artifact(tmp_path / "edge", cloud_artifact(tmp_path / "cloud"))
    with (
        cloud(sha256="1" * 64) as port,
        pytest.raises(ModelMismatch, match="1" * 64),
        opened(settings(tmp_path, artifact, cloud=to(port))),
    ):
        pass


def offline(folder: Path, artifact: Artifact, **outbox: Any) -> Any:
    """Of a node whose broker is not there."""
    np.save(folder / "rows.npy", np.stack([SURE] * 10))
    more = {
        "mqtt": {"host": HOST, "port": 9, "flush": 0},
        "outbox": {"path": str(folder / "outbox"), "linger": 0.01, **outbox},
        "source": {"kind": "array", "path": str(folder / "rows.npy")},
    }
    return settings(folder, artifact, **more)


def test_a_full_outbox_that_rejects_takes_no_sample_of_a_caller_either(
    tmp_path: Path, artifact: Artifact
) -> None:
    with opened(offline(tmp_path, artifact, policy="reject", max_rows=3)) as node:
        for _ in range(3):
            assert node.infer(SURE).label == "green"
        outbox = node._outbox
        assert outbox
        assert wait_until(lambda: outbox.full, PATIENCE)
        with pytest.raises(NodeError, match="the outbox is full"):
            node.infer(SURE)


def test_a_full_outbox_that_drops_takes_it(tmp_path: Path, artifact: Artifact) -> None:
    """The negative of the test before."""
    with opened(offline(tmp_path, artifact, max_rows=3)) as node:
        assert {node.infer(SURE).label for _ in range(10)} == {"green"}


def test_an_outbox_that_is_an_old_copy_ends_the_run(tmp_path: Path, artifact: Artifact) -> None:
    with opened(offline(tmp_path, artifact)) as node:
        assert node._outbox
        node._outbox.outdate()
        with pytest.raises(OutdatedError):
            node.run(Event())
    with opened(offline(tmp_path, artifact)) as node:
        node.run(Event())
        assert sum(reasons(node).values()) == 10


@pytest.mark.parametrize("policy", ["always_edge", "always_cloud", "random"])
def test_a_budget_that_no_threshold_can_follow_is_refused(
    tmp_path: Path, artifact: Artifact, policy: str
) -> None:
    more: dict[str, dict[str, Any]] = {
        "gate": {"policy": policy, "threshold": 0.5},
        "budget": {"offload_share": 0.3},
    }
    with (
        pytest.raises(NodeError, match=f"offload_share moves a threshold: policy {policy} has its own"),
        opened(settings(tmp_path, artifact, **more)),
    ):
        pass


def test_the_edge_s_answers_are_audited_whatever_the_policy(tmp_path: Path, artifact: Artifact) -> None:
    more: dict[str, dict[str, Any]] = {"gate": {"policy": "always_edge"}, "audit": {"share": 1.0}}
    with cloud() as port, opened(settings(tmp_path, artifact, cloud=to(port), **more)) as node:
        for _ in range(3):
            assert node.infer(UNSURE).reason == "confident"
            assert wait_until(lambda: value(exposition(node.meter.registry), IN_FLIGHT) == 0, PATIENCE)
        assert value(exposition(node.meter.registry), "tidegate_audits", outcome="answered") == 3


def test_without_a_broker_a_provisional_answer_is_corrected_as_well(
    tmp_path: Path, artifact: Artifact
) -> None:
    kept = Kept()
    more = {"gate": {"policy": "always_cloud"}}
    with (
        cloud() as port,
        opened(settings(tmp_path, artifact, cloud=to(port, delivery="provisional"), **more), kept) as node,
    ):
        assert [node.infer(SURE).state for _ in range(5)] == ["provisional"] * 5
    assert [result.seq for result in kept.results] == list(range(10))
    assert sorted(it.id for it in kept.results if it.reason == "cloud") == sorted(
        it.id for it in kept.results if it.reason == "deferred"
    )
