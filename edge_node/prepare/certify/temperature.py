"""Temperature scaling (Guo et al. 2017): one number that makes confidence mean accuracy."""

import math

import numpy as np
from numpy.typing import NDArray

BOUNDS = (0.05, 20.0)
_RATIO = (math.sqrt(5) - 1) / 2
_STEPS = 60
_NEAR = 1.01


def fit(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """Temperature within ``BOUNDS`` of the least mean negative log likelihood; 1 if no logit is finite.

    ``logits``: (n, classes); ``classes``: (n,), true ones. Convex in 1/T, so unimodal in log T: a
    golden section finds it. Rows with NaN or infinity do not count. Where every temperature does
    as well (all logits equal), 1.
    """
    usable = np.isfinite(logits).all(axis=1)
    rows, truth = logits[usable].astype(np.float64), classes[usable]
    if not len(rows) or not np.ptp(rows, axis=1).any():
        return 1.0
    low, high = math.log(BOUNDS[0]), math.log(BOUNDS[1])
    for _ in range(_STEPS):
        left, right = high - _RATIO * (high - low), low + _RATIO * (high - low)
        if nll(rows, truth, math.exp(left)) <= nll(rows, truth, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def at_a_bound(temperature: float) -> bool:
    """Whether the data would have had an even more extreme one: they are separable, or all wrong."""
    return not BOUNDS[0] * _NEAR < temperature < BOUNDS[1] / _NEAR


def nll(logits: NDArray[np.float64], classes: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log likelihood in nats."""
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    of_truth = np.take_along_axis(scaled, classes[:, np.newaxis], axis=1)[:, 0]
    return float((np.log(np.exp(scaled).sum(axis=1)) - of_truth).mean())
