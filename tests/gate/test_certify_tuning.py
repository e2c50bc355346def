"""Temperature, score and split, as TUNE decides them."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_node.gate import scores
from edge_node.prepare.certify import choose, gain, temperature
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.certify.split import shuffled, split
from edge_node.prepare.errors import DataError
from protos.score import Gain, Msp

CLASSES = 10


def drawn(
    count: int, true_temperature: float, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits, and classes drawn from their softmax at that temperature."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(scale=3, size=(count, CLASSES))
    noise = draw.gumbel(size=logits.shape)
    return logits.astype(np.float32), (logits / true_temperature + noise).argmax(axis=1)


def ece(logits: NDArray[np.float32], classes: NDArray[np.int64], heat: float, bins: int = 15) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over equal bins of confidence."""
    scaled = logits.astype(np.float64) / heat
    confidence = 1 / np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)
    right = logits.argmax(axis=1) == classes
    member = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    distances = np.abs(np.bincount(member, confidence - right, bins))
    return float(distances.sum() / len(logits))


def test_temperature_finds_the_one_that_the_classes_were_drawn_with() -> None:
    logits, classes = drawn(5000, 1.7)
    found = temperature.fit(logits, classes)
    assert found == pytest.approx(1.7, rel=0.05)
    wide = logits.astype(np.float64)
    assert temperature.nll(wide, classes, found) <= temperature.nll(wide, classes, 1.0)
    assert ece(logits, classes, 1.0) > 5 * ece(logits, classes, found)
    assert (logits.argmax(axis=1) == (logits / found).argmax(axis=1)).all()


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_scaled_logits_scale_the_temperature(factor: float) -> None:
    logits, classes = drawn(2000, 1.3)
    once = temperature.fit(logits, classes)
    assert temperature.fit((factor * logits).astype(np.float32), classes) == pytest.approx(
        factor * once, rel=1e-4
    )


def test_temperature_is_stable_where_logits_are_huge() -> None:
    logits, classes = drawn(500, 1.0)
    assert np.isfinite(temperature.fit(logits * np.float32(1e4), classes))


def test_temperature_of_what_has_none() -> None:
    logits, classes = drawn(200, 1.0)
    assert temperature.fit(np.zeros_like(logits), classes) == 1
    assert temperature.fit(np.full_like(logits, np.nan), classes) == 1
    perfect = (10 * np.eye(CLASSES)[classes]).astype(np.float32)
    assert temperature.at_a_bound(temperature.fit(perfect, classes))
    partly = logits.copy()
    partly[:50] = np.inf
    assert temperature.fit(partly, classes) == temperature.fit(logits[50:], classes[50:])


def homogeneous(count: int, seed: int) -> Evidence:
    """A cloud that is right in four of five of whatever the edge has wrong, and in all that it has right."""
    logits, labels = drawn(count, 1.5, seed)
    draw = np.random.default_rng(seed + 1)
    edge = logits.argmax(axis=1)
    mended = (edge != labels) & (draw.random(count) < 0.8)
    return Evidence(logits, np.where(mended, labels, edge), labels)


def specialist(count: int, seed: int) -> Evidence:
    """A cloud that knows better in the last three classes only, whatever the edge's confidence."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    sharp = np.where(draw.random((count, 1)) < 0.5, 6.0, 2.0)
    logits = sharp * np.eye(CLASSES)[labels] + draw.normal(size=(count, CLASSES))
    mixed_up = (labels >= 7) & (draw.random(count) < 0.45)
    confused = np.where(mixed_up, 7 + (labels + 1 - 7) % 3, labels)
    logits[mixed_up] = (sharp * np.eye(CLASSES)[confused] + draw.normal(size=(count, CLASSES)))[mixed_up]
    edge = logits.argmax(axis=1)
    return Evidence(logits.astype(np.float32), np.where(labels >= 7, labels, edge), labels)


def offload(found: Evidence, values: NDArray[np.float64], drop: float) -> float:
    """Least offload at which the drop is at most this."""
    order = np.argsort(values)
    drops = (found.gain.sum() - np.cumsum(found.gain[order])) / len(found)
    return float(np.flatnonzero(drops > drop).max() + 2) / len(found)


def stays(count: int, copies: int = 1, *, grouped: bool = False) -> int:
    """How often of ten max softmax is chosen, where nothing is better but by chance."""
    chosen = []
    for seed in range(10):
        found = homogeneous(count, seed).take(rows := np.repeat(np.arange(count), copies))
        chosen.append(choose.choose(replace(found, groups=rows) if grouped else found, 1.5, 0))
    return sum(isinstance(it, Msp) for it in chosen)


def test_max_softmax_stays_where_nothing_is_clearly_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the one that happens to lead."""
    assert stays(150) >= 9
    assert stays(800) >= 9
    monkeypatch.setattr(choose, "LEAD", 0)
    assert stays(150) <= 5


def test_copies_lend_no_score_a_lead_where_they_are_of_one_group() -> None:
    assert stays(150, copies=10, grouped=True) >= 9
    assert stays(150, copies=10) <= 5


def test_a_specialist_in_the_cloud_is_met_with_the_learned_score() -> None:
    tune, test = specialist(1500, 1), specialist(5000, 2)
    chosen = choose.choose(tune, 1.0, 0)
    assert isinstance(chosen, Gain)
    learned, plain = (offload(test, scores.make(it, 1.0)(test.logits), 0.02) for it in (chosen, Msp()))
    assert learned < plain - 0.15


def test_where_there_is_no_specialist_the_learned_score_loses_next_to_nothing() -> None:
    tune, test = homogeneous(1500, 3), homogeneous(5000, 4)
    learned = gain.fit(tune, 1.5)
    assert learned is not None
    areas = [choose.area(scores.make(it, 1.5)(test.logits), test.gain) for it in (learned, Msp())]
    assert areas[0] > 0.99 * areas[1]


def test_without_labels_it_learns_where_the_two_disagree() -> None:
    found = specialist(1500, 5)
    blind = gain.fit(Evidence(found.logits, found.cloud), 1.0)
    assert blind is not None
    assert blind.spoils is None
    values = scores.make(blind, 1.0)(found.logits)
    assert values[found.differs].mean() < values[~found.differs].mean() - 0.1


def test_nothing_is_learned_from_a_handful_of_differences() -> None:
    agreeing = homogeneous(300, 6)
    assert gain.fit(Evidence(agreeing.logits, agreeing.edge), 1.0) is None
    assert gain.cross_fitted(Evidence(agreeing.logits, agreeing.edge), 1.0, 0) is None


def test_each_third_is_scored_by_what_the_others_taught() -> None:
    """Of outcomes that are noise it learns nothing; in its own sample it would seem to."""
    draw = np.random.default_rng(7)
    logits = draw.normal(size=(90, CLASSES)).astype(np.float32)
    cloud = np.where(draw.random(90) < 0.5, logits.argmax(axis=1), 0)
    noise = Evidence(logits, cloud)
    taught, crossed = gain.fit(noise, 1.0), gain.cross_fitted(noise, 1.0, 0)
    assert taught is not None
    assert crossed is not None
    within = choose.area(scores.make(taught, 1.0)(logits), noise.gain)
    assert choose.area(crossed, noise.gain) < within


def test_ties_defer_together_and_nan_first() -> None:
    gains = np.array([1, 0, 0, 1])
    tied = np.zeros(4)
    assert choose.area(tied, gains) == choose.area(tied, gains[::-1])
    assert choose.area(np.array([np.nan, 1, 1, 0]), gains) > choose.area(np.array([2, 1, 1, 0]), gains)


def test_a_split_is_disjoint_complete_and_the_same_every_time() -> None:
    tune, cert = split(1000, None, 0)
    assert len(tune) == 200
    assert sorted([*tune, *cert]) == list(range(1000))
    assert (split(1000, None, 0)[0] == tune).all()
    assert set(split(1000, None, 1)[0]) != set(tune)
    assert len(split(100_000, None, 0)[0]) == 5000, "more would be lost to CERT for nothing"


def test_a_group_is_never_on_both_sides() -> None:
    groups = np.random.default_rng(0).integers(0, 7, 500)
    tune, cert = split(500, groups, 3)
    assert not set(groups[tune]) & set(groups[cert])
    assert len(tune)
    assert len(cert)
    with pytest.raises(DataError, match="all samples are of one group"):
        split(500, np.zeros(500, np.int64), 0)


def test_shuffling_keeps_rows_and_groups_together() -> None:
    logits, labels = drawn(60, 1.0)
    groups = np.repeat(np.arange(6), 10)
    mixed = shuffled(Evidence(logits, labels, labels, groups), 1)
    assert sorted(mixed.logits[:, 0]) == sorted(logits[:, 0])
    assert mixed.groups is not None
    original = {float(row[0]): int(group) for row, group in zip(logits, groups, strict=True)}
    renamed = {(original[float(row[0])], int(to)) for row, to in zip(mixed.logits, mixed.groups, strict=True)}
    assert len(renamed) == 6
