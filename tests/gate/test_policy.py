"""Which gate settings and artifact make together."""

import dataclasses
import math

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_node import config
from edge_node.errors import NodeError
from edge_node.gate.confidence import ConfidenceGate
from edge_node.gate.policy import make_gate
from protos.artifact import Artifact, Gate
from protos.score import Energy, Margin, Negent
from tests.models import edge_artifact

RANDOM = np.random.default_rng(0).normal(0, 3, (2000, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return edge_artifact(tmp_path_factory.mktemp("gate") / "edge")


def with_gate(artifact: Artifact, gate: Gate | None) -> Artifact:
    return dataclasses.replace(artifact, manifest=msgspec.structs.replace(artifact.manifest, gate=gate))


def accepted(gate: ConfidenceGate, batch: NDArray[np.float32] = RANDOM) -> list[bool]:
    return [gate.decide(logits).accepted for logits in batch]


def sedna_cross_entropy(shares: list[float], threshold: float) -> bool:
    """Whether Sedna calls a sample hard: ``CrossEntropyFilter``, by the description of its class."""
    return 1 + sum(p * math.log(p) for p in shares) / math.log(len(shares)) < threshold


def test_the_score_of_the_artifact_is_what_the_threshold_is_compared_to(artifact: Artifact) -> None:
    own = Gate(score=Margin(), temperature=2.0, threshold=0.4)
    decision = make_gate(config.Gate(), with_gate(artifact, own)).decide(np.array([2, 0, 1], np.float32))
    p = np.exp([1, 0, 0.5]) / np.exp([1, 0, 0.5]).sum()
    assert decision.confidence == pytest.approx(p[0])
    assert decision.score == pytest.approx(p[0] - p[2])
    assert not decision.accepted


def test_a_threshold_of_the_settings_takes_the_place_of_the_artifact_s(artifact: Artifact) -> None:
    own = Gate(score=Energy(), threshold=1e9)
    assert not any(accepted(make_gate(config.Gate(), with_gate(artifact, own))))
    assert all(accepted(make_gate(config.Gate(threshold=-100), with_gate(artifact, own))))


@pytest.mark.parametrize(
    ("sedna", "ours"),
    [
        ("Threshold", config.Gate()),
        ("EdgeOnly", config.Gate(policy="always_edge")),
        ("CloudOnly", config.Gate(policy="always_cloud")),
    ],
)
def test_sedna_s_names_mean_ours(artifact: Artifact, sedna: config.Policy, ours: config.Gate) -> None:
    assert make_gate(config.Gate(policy=sedna), artifact) == make_gate(ours, artifact)


@pytest.mark.parametrize("own", [None, Gate(score=Energy(), threshold=3.0)], ids=["no gate", "energy"])
def test_the_baselines_take_all_or_nothing_whatever_the_score(artifact: Artifact, own: Gate | None) -> None:
    artifact = with_gate(artifact, own)
    assert all(accepted(make_gate(config.Gate(policy="always_edge", threshold=0.9), artifact)))
    assert not any(accepted(make_gate(config.Gate(policy="always_cloud", threshold=0.1), artifact)))


def test_cross_entropy_calls_hard_what_sedna_does(artifact: Artifact) -> None:
    gate = make_gate(config.Gate(policy="CrossEntropy", threshold=0.5), artifact)
    shares = np.exp(RANDOM.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    hard = [sedna_cross_entropy(row, 0.5) for row in shares.tolist()]
    assert accepted(gate) == [not it for it in hard]
    assert 0.2 < np.mean(hard) < 0.8


@pytest.mark.parametrize("policy", ["random", "Random"])
def test_chance_asks_the_cloud_for_its_share_and_for_the_same_samples_again(
    artifact: Artifact, policy: config.Policy
) -> None:
    gate = make_gate(config.Gate(policy=policy, threshold=0.3), artifact)
    kept = accepted(gate)
    assert np.mean(kept) == pytest.approx(0.7, abs=0.03)
    assert accepted(gate) == kept
    assert not gate.decide(np.array([1, math.nan, 0], np.float32)).accepted


def test_chance_does_not_know_what_is_hard(artifact: Artifact) -> None:
    gate, chance = (
        make_gate(config.Gate(policy=it, threshold=0.5), artifact) for it in ("threshold", "random")
    )
    confidence = [gate.decide(logits).score for logits in RANDOM]
    drawn = [chance.decide(logits).score for logits in RANDOM]
    assert abs(np.corrcoef(confidence, drawn)[0, 1]) < 0.07  # 3 standard errors


@pytest.mark.parametrize(
    ("settings", "own", "problem"),
    [
        (config.Gate(), None, "no threshold for policy threshold: set [gate] threshold"),
        (config.Gate(threshold=math.nan), None, "no threshold for policy threshold: set [gate] threshold"),
        (config.Gate(policy="random"), Gate(threshold=0.8), "no threshold for policy random: set [gate] thr"),
        (
            config.Gate(policy="CrossEntropy"),
            Gate(threshold=0.8),
            "no threshold for policy CrossEntropy: set",
        ),
        (
            config.Gate(threshold=95),
            Gate(threshold=0.8),
            "[gate] threshold = 95: this score lies between 0 and 1",
        ),
        (config.Gate(threshold=0.5), Gate(score=Negent(), threshold=-1), "between -inf and 0"),
        (config.Gate(policy="random", threshold=30), Gate(threshold=0.8), "between 0 and 1"),
    ],
)
def test_a_threshold_that_cannot_be_meant_is_refused(
    artifact: Artifact, settings: config.Gate, own: Gate | None, problem: str
) -> None:
    with pytest.raises(NodeError) as caught:
        make_gate(settings, with_gate(artifact, own))
    assert problem in str(caught.value)
