"""Every score against its formula, its symmetries, and what is no logit; on the device as in a batch."""

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge_node.gate import scores
from edge_node.gate.confidence import ALWAYS, ConfidenceGate
from protos.artifact import Gate
from protos.score import Energy, Gain, Logistic, Margin, MaxLogitPNorm, Msp, Negent, ScoreSpec

CLASSES = 12
HELPS = Logistic(weights=(-3.0, -1.0, -0.5), bias=tuple(np.linspace(-1, 1, CLASSES).tolist()))
SPOILS = Logistic(weights=(1.0, 0.5, 2.0), bias=tuple(np.linspace(1, -2, CLASSES).tolist()))
PLAIN: list[ScoreSpec] = [Msp(), Margin(), Negent(), Energy(), MaxLogitPNorm(p=1), MaxLogitPNorm(p=7)]
SPECS = [*PLAIN, Gain(helps=HELPS), Gain(helps=HELPS, spoils=SPOILS)]
each = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)

TEMPERATURES = st.floats(0.05, 20)
EXACT = hnp.arrays(np.float32, st.integers(2, CLASSES), elements=st.integers(-320, 320).map(lambda x: x / 16))
"""Logits that may be shifted by a whole number, and scaled by a power of two, without rounding."""
BATCHES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, CLASSES)),
    elements=st.floats(width=32),
)


def logits(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def one_by_one(spec: ScoreSpec, batch: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    gate = ConfidenceGate(temperature, ALWAYS, scores.measure_of(spec))
    return np.array([gate.decide(z).score for z in batch])


def softmax(z: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    weights = np.exp(z.astype(np.float64) / temperature - z.max() / temperature)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def pnorm(z: NDArray[Any], p: int) -> float:
    centred = z.astype(np.float64) - z.astype(np.float64).mean()
    return float(centred.max() / ((abs(centred) ** p).sum() ** (1 / p) or 1.0))


def learned(model: Logistic, z: NDArray[Any], temperature: float) -> float:
    p = softmax(z, temperature)
    first, second = np.sort(p)[:-3:-1]
    known = (first, first - second, sum(q * math.log(q) for q in p if q))
    return 1 / (1 + math.exp(-model.bias[z.argmax()] - np.dot(model.weights, known)))


REFERENCES: list[tuple[ScoreSpec, Callable[[NDArray[Any], float], float]]] = [
    (Msp(), lambda z, t: softmax(z, t).max()),
    (Margin(), lambda z, t: np.diff(np.sort(softmax(z, t))[-2:]).item()),
    (Negent(), lambda z, t: sum(p * math.log(p) for p in softmax(z, t) if p)),
    (Energy(), lambda z, t: t * np.logaddexp.reduce(z.astype(np.float64) / t)),
    *((MaxLogitPNorm(p=p), lambda z, _, p=p: pnorm(z, p)) for p in range(1, 11)),
    (Gain(helps=HELPS), lambda z, t: -learned(HELPS, z, t)),
    (Gain(helps=HELPS, spoils=SPOILS), lambda z, t: learned(SPOILS, z, t) - learned(HELPS, z, t)),
]


@pytest.mark.parametrize(("spec", "reference"), REFERENCES, ids=lambda it: type(it).__name__)
@given(z=EXACT, temperature=TEMPERATURES)
def test_a_score_is_what_its_formula_says(
    spec: ScoreSpec,
    reference: Callable[[NDArray[Any], float], float],
    z: NDArray[np.float32],
    temperature: float,
) -> None:
    assert scores.make(spec, temperature)(z) == pytest.approx(reference(z, temperature), rel=1e-9, abs=1e-9)


@each
@given(batch=BATCHES, temperature=TEMPERATURES, order=st.sampled_from("CF"))
def test_the_device_and_the_workstation_agree_bit_for_bit(
    spec: ScoreSpec, batch: NDArray[np.float32], temperature: float, order: Literal["C", "F"]
) -> None:
    together = scores.make(spec, temperature)(batch.astype(np.float32, order=order))
    assert together.shape == batch.shape[:1]
    assert together.tobytes() == one_by_one(spec, batch, temperature).tobytes()


@pytest.mark.parametrize("spec", PLAIN, ids=lambda spec: type(spec).__name__)
@pytest.mark.parametrize("shape", [(20, 1000), (2000, 10)])
def test_they_agree_however_many_there_are(spec: ScoreSpec, shape: tuple[int, int]) -> None:
    batch = np.random.default_rng(0).normal(0, 5, shape).astype(np.float32)
    assert scores.make(spec, 1.3)(batch).tobytes() == one_by_one(spec, batch, 1.3).tobytes()


@each
@given(batch=BATCHES)
def test_only_what_is_finite_has_a_score_and_is_trusted(spec: ScoreSpec, batch: NDArray[np.float32]) -> None:
    gate = ConfidenceGate(1.0, ALWAYS, scores.measure_of(spec))
    found = scores.make(spec)(batch)
    low, high = spec.bounds
    for z, score in zip(batch, found, strict=True):
        finite = bool(np.isfinite(z).all())
        assert gate.decide(z).accepted is finite
        assert low <= score <= high if finite else math.isnan(score)


@each
def test_no_classes_at_all_have_no_score(spec: ScoreSpec) -> None:
    assert math.isnan(scores.make(spec)(logits()))
    assert np.isnan(scores.make(spec)(np.empty((3, 0), np.float32))).tolist() == [True] * 3


@each
@given(z=EXACT, shift=st.integers(-50, 50))
def test_a_shift_of_all_logits_moves_the_energy_alone(
    spec: ScoreSpec, z: NDArray[np.float32], shift: int
) -> None:
    score = scores.make(spec, 1.7)
    moved = shift if isinstance(spec, Energy) else 0
    assert score(z + np.float32(shift)) == pytest.approx(score(z) + moved, abs=1e-12)


@given(z=EXACT, p=st.integers(1, 10), octaves=st.integers(-60, 60))
def test_no_scale_moves_the_p_norm(z: NDArray[np.float32], p: int, octaves: int) -> None:
    score = scores.make(MaxLogitPNorm(p=p))
    assert score(z * np.float32(2.0**octaves)) == score(z)


@given(z=EXACT, scale=st.floats(0.1, 10), temperature=TEMPERATURES)
def test_temperature_undoes_a_scale(z: NDArray[np.float32], scale: float, temperature: float) -> None:
    """The negative control of the two invariances above: to a softmax, scale does matter."""
    blown = (z * np.float32(scale)).astype(np.float32)
    rescaled = scores.make(Msp(), temperature * scale)(blown)
    assert rescaled == pytest.approx(scores.make(Msp(), temperature)(z), rel=1e-3)
    if np.ptp(z) > 1:
        assert scores.make(Msp(), 1.0)(z) > scores.make(Msp(), 2.0)(z)


@pytest.mark.parametrize("spec", PLAIN, ids=lambda spec: type(spec).__name__)
@given(z=EXACT, rise=st.integers(0, 100), temperature=TEMPERATURES)
def test_no_score_falls_where_the_top_rises(
    spec: ScoreSpec, z: NDArray[np.float32], rise: int, temperature: float
) -> None:
    score, raised = scores.make(spec, temperature), z.copy()
    raised[z.argmax()] += rise
    assert score(raised) >= score(z) - 1e-12


@pytest.mark.parametrize("spec", PLAIN, ids=lambda spec: type(spec).__name__)
def test_a_score_rises_with_the_top(spec: ScoreSpec) -> None:
    score = scores.make(spec)
    assert score(logits(5, 2, 1)) > score(logits(3, 2, 1))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Msp(), 0.25),
        (Margin(), 0.0),
        (Negent(), -math.log(4)),
        (Energy(), 0.1 + math.log(4)),
        (MaxLogitPNorm(p=3), 0.0),
    ],
    ids=str,
)
def test_equal_logits_are_as_unsure_as_can_be(spec: ScoreSpec, expected: float) -> None:
    assert scores.make(spec)(logits(*[0.1] * 4)) == pytest.approx(expected)


def test_a_tie_at_the_top_has_no_margin() -> None:
    assert scores.make(Margin())(logits(3, 1, 3)) == 0


@pytest.mark.parametrize("spec", [Msp(), Margin()], ids=str)
def test_confident_samples_do_not_tie(spec: ScoreSpec) -> None:
    """In single precision, or from a softmax in int8, both would be 1."""
    sure, surer = (scores.make(spec)(logits(gap, 0, 0)) for gap in (20, 25))
    assert sure < surer
    assert np.float32(sure) == np.float32(surer)


def test_the_largest_numbers_overflow_nothing() -> None:
    largest = float(np.finfo(np.float32).max)
    assert scores.make(MaxLogitPNorm(p=10))(logits(largest, -largest)) == pytest.approx(0.5**0.1)
    assert scores.make(Negent(), 0.01)(logits(largest, -largest)) == 0
    steep = Logistic(weights=(1e6, 0, 0), bias=(0.0, 0.0))
    assert scores.make(Gain(helps=steep))(logits(9, 0)) == -1


def test_gain_knows_where_the_cloud_is_no_help() -> None:
    """Two samples as sure as each other; the cloud is a specialist of the second class."""
    helps = Logistic(weights=(-4.0, 0.0, 0.0), bias=(-3.0, 3.0))
    score = scores.make(Gain(helps=helps))
    known, unknown = score(np.array([[1, 0], [0, 1]], np.float32))
    assert known > unknown
    nearly_even = score(np.array([[0, -1e-41], [-1e-41, 0]], np.float32))  # a softmax sees no difference
    assert nearly_even[0] > nearly_even[1]


@each
def test_a_manifest_says_all_of_a_score(spec: ScoreSpec) -> None:
    gate = Gate(score=spec, temperature=1.5, threshold=-0.25)
    assert msgspec.json.decode(msgspec.json.encode(gate), type=Gate) == gate


def test_a_manifest_from_before_there_were_scores_has_the_first() -> None:
    assert msgspec.json.decode(b'{"threshold": 0.8}', type=Gate).score == Msp()
