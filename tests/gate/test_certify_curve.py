"""The curve of accuracy and bytes against offload, and the points that are marked on it."""

import numpy as np
import pytest

from edge_node.prepare.certify.curve import curve
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.certify.tuning import Tuned
from protos.score import Margin
from tests.gate.certificates import certificate

COUNT = 100
TUNED = Tuned(Margin(), 1.0, (), Evidence(np.empty((0, 2), np.float32), np.empty(0, np.int64)))


def evidence(*, labelled: bool = True) -> Evidence:
    """Ever surer of class 0, and right of all but four of the least sure ten; the cloud is never wrong.

    The less sure the edge is, the larger is the payload.
    """
    logits = np.stack([np.linspace(0.01, 5, COUNT), np.zeros(COUNT)], axis=1).astype(np.float32)
    truth = np.zeros(COUNT, np.int64)
    truth[[0, 3, 6, 9]] = 1
    return Evidence(logits, truth, truth if labelled else None, sizes=np.arange(2 * COUNT, COUNT, -1))


def test_points_are_where_they_are_said_to_be() -> None:
    found = curve(
        TUNED, evidence(), 0.01, certificate(threshold=float(np.tanh(evidence().logits[20, 0] / 2)))
    )
    points = found["points"]
    assert points["naive"] == {
        "offload": 0.07,
        "accuracy": pytest.approx(0.99),
        "bytes": pytest.approx(sent(7)),
    }
    assert points["oracle"] == {"offload": 0.03, "accuracy": pytest.approx(0.99)}
    assert points["certified"]["offload"] == pytest.approx(0.2, abs=0.011)
    assert (found["edge"], found["cloud"]) == (pytest.approx(0.96), pytest.approx(1.0))


def sent(count: int) -> float:
    """Share of the bytes that the least sure take."""
    sizes = np.arange(2 * COUNT, COUNT, -1)
    return float(sizes[:count].sum() / sizes.sum())


def test_the_curve_runs_from_the_edge_alone_to_the_cloud_alone() -> None:
    found = curve(TUNED, evidence(), 0.01, None)
    assert (found["offload"][0], found["offload"][-1]) == (0, 1)
    assert (found["accuracy"][0], found["accuracy"][-1]) == (pytest.approx(0.96), pytest.approx(1.0))
    assert (found["bytes"][0], found["bytes"][-1]) == (0, pytest.approx(1.0))
    assert found["points"]["certified"] is None
    assert all(np.array(found["oracle_accuracy"]) >= np.array(found["accuracy"]) - 1e-12)


def test_without_labels_it_is_of_agreement() -> None:
    labelled, blind = (curve(TUNED, evidence(labelled=it), 0.01, None) for it in (True, False))
    assert (labelled["of"], blind["of"]) == ("accuracy", "agreement with the cloud")
    assert blind["accuracy"] == labelled["accuracy"], "here the cloud is the truth"
