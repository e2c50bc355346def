"""The gain score: learn where the cloud would be right and the edge is not (Jitkrittum et al. 2023)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.gate import scores
from edge_node.gate.scores import Softmax
from edge_node.prepare.certify.evidence import Evidence, Rows
from protos.score import Gain, Logistic

FOLDS = 3
LEAST_EVENTS = 10
"""Samples of either outcome below which nothing can be learned."""
RIDGE = 1.0
"""On the features, in standard deviations."""
CLASS_RIDGE = 4.0
"""On what sets a class apart from the others: half a unit of log odds, a priori."""
_NEWTON = 25
_CLOSE = 1e-8

Floats = NDArray[np.float64]


def fit(evidence: Evidence, temperature: float) -> Gain | None:
    """Learned on these samples; none if too few of them differ."""
    known = evidence.take(np.flatnonzero(evidence.usable))
    helps, spoils = known.gain > 0, known.gain < 0
    if _too_few(helps):
        return None
    design = _Design.of(known, temperature)
    return Gain(helps=design.learn(helps), spoils=None if _too_few(spoils) else design.learn(spoils))


def cross_fitted(evidence: Evidence, temperature: float, seed: int) -> Floats | None:
    """(n,): scores of each third of the samples by what the other two teach; none if they teach nothing."""
    found = np.full(len(evidence), np.nan)
    for fold, others in _folds(evidence, seed):
        if (learned := fit(evidence.take(others), temperature)) is None:
            return None
        found[fold] = scores.make(learned, temperature)(evidence.logits[fold])
    return found


def _folds(evidence: Evidence, seed: int) -> Iterator[tuple[Rows, Rows]]:
    units = np.arange(len(evidence)) if evidence.groups is None else evidence.groups
    _, member = np.unique(units, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(int(member.max()) + 1)[member] % FOLDS
    for number in range(FOLDS):
        yield np.flatnonzero(fold == number), np.flatnonzero(fold != number)


def _too_few(outcome: NDArray[np.bool_]) -> bool:
    return min(int(outcome.sum()), int((~outcome).sum())) < LEAST_EVENTS


@dataclass(frozen=True)
class _Design:
    """What a ``Logistic`` is learned from: features and a constant, then one column a class."""

    columns: Floats
    means: Floats
    deviations: Floats

    @classmethod
    def of(cls, evidence: Evidence, temperature: float) -> "_Design":
        softmax = Softmax.of(evidence.logits, temperature)
        features = np.stack(scores.features(softmax), axis=1)
        means, deviations = features.mean(axis=0), features.std(axis=0) + _CLOSE
        classes = np.eye(evidence.logits.shape[1])[softmax.weights.argmax(axis=1)]
        constant = np.ones((len(features), 1))
        return cls(np.hstack([(features - means) / deviations, constant, classes]), means, deviations)

    def learn(self, outcome: NDArray[np.bool_]) -> Logistic:
        """Ridge-logistic regression by Newton's method."""
        solved = _newton(self.columns, outcome.astype(np.float64))
        weights = solved[:3] / self.deviations
        bias = solved[3] - float(weights @ self.means) + solved[4:]
        first, second, third = (float(weight) for weight in weights)
        return Logistic(weights=(first, second, third), bias=tuple(float(one) for one in bias))


def _newton(columns: Floats, outcome: Floats) -> Floats:
    ridge = np.full(columns.shape[1], CLASS_RIDGE)
    ridge[:3], ridge[3] = RIDGE, _CLOSE
    solved = np.zeros(columns.shape[1])
    for _ in range(_NEWTON):
        expected = 0.5 + 0.5 * np.tanh(columns @ solved / 2)
        slope = columns.T @ (expected - outcome) + ridge * solved
        curvature = (columns * (expected * (1 - expected))[:, np.newaxis]).T @ columns + np.diag(ridge)
        step = np.linalg.solve(curvature, slope)
        solved -= np.clip(step, -2.0, 2.0)  # far from the optimum a full step may leave it for good
        if np.abs(step).max() < _CLOSE:
            break
    return solved
