"""How sure the edge is: scores of its logits, larger is surer.

One function of each serves the device, one sample at a time, and the workstation, many at once; they
agree bit for bit. NaN or infinity among the logits of a sample makes its score NaN, which no
threshold is below: it defers. All in double precision: in single, confident samples tie at 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protos import score

Floats: TypeAlias = NDArray[np.float64]
TINY = 1e-300
"""Less than any difference of logits in single precision, and no zero."""
Score: TypeAlias = Callable[[NDArray[np.float32]], Floats]
"""Logits (classes,) or (n, classes) to a number or (n,)."""


class Softmax(NamedTuple):
    """Logits and the parts of their softmax, along the last axis; NaN throughout where one is not finite."""

    logits: Floats
    """(..., classes)"""
    temperature: float
    scaled: Floats
    """(logits - largest) / temperature, so 0 at the top."""
    weights: Floats
    """exp(scaled), so 1 at the top."""
    total: Floats
    """Sum of the weights (...): the reciprocal of the largest probability."""

    @classmethod
    def of(cls, logits: NDArray[np.float32], temperature: float) -> "Softmax":
        """``logits``: (..., classes). No classes at all count as one that is NaN."""
        if not logits.shape[-1]:
            logits = np.full((*logits.shape[:-1], 1), np.nan, np.float32)
        finite = np.isfinite(logits)
        if not finite.all():
            logits = np.where(finite.all(axis=-1, keepdims=True), logits, np.nan)
        wide = logits.astype(np.float64, order="C")  # a row sums as it does alone
        scaled = (wide - _largest(wide)) / temperature
        weights = np.exp(scaled)
        return cls(wide, temperature, scaled, weights, _sum(weights)[..., 0])


Measure: TypeAlias = Callable[[Softmax], Floats]
"""A score where the softmax is known already."""
Features: TypeAlias = tuple[Floats, Floats, Floats]
Learned: TypeAlias = Callable[[NDArray[np.intp], Features], Floats]
"""A probability by top class and features."""


def make(spec: score.ScoreSpec, temperature: float = 1.0) -> Score:
    """The score that a manifest names, as a function of the logits."""
    measure = measure_of(spec)
    return lambda logits: measure(Softmax.of(logits, temperature))


def measure_of(spec: score.ScoreSpec) -> Measure:
    """The score that a manifest names, as a function of their softmax."""
    match spec:
        case score.MaxLogitPNorm(p=p):
            return partial(maxlogit_pnorm, p)
        case score.Gain(helps=helps, spoils=None):
            return partial(gain, _probability(helps), _nil)
        case score.Gain(helps=helps, spoils=score.Logistic() as spoils):
            return partial(gain, _probability(helps), _probability(spoils))
        case _:
            return _PLAIN[type(spec)]


def msp(softmax: Softmax) -> Floats:
    """Max softmax probability."""
    return 1.0 / softmax.total


def margin(softmax: Softmax) -> Floats:
    """Largest less second largest probability; with one class there is no second."""
    if softmax.weights.shape[-1] == 1:
        return msp(softmax)
    return (1.0 - np.partition(softmax.weights, -2)[..., -2]) / softmax.total


def negent(softmax: Softmax) -> Floats:
    """Sum of p log p."""
    _, _, scaled, weights, total = softmax
    return _sum(weights * scaled)[..., 0] / total - np.log(total)


def energy(softmax: Softmax) -> Floats:
    """Temperature times log sum exp(logits / temperature)."""
    return _largest(softmax.logits)[..., 0] + softmax.temperature * np.log(softmax.total)


def maxlogit_pnorm(p: int, softmax: Softmax) -> Floats:
    """Largest centred logit over the p-norm of all; 0 where all are equal."""
    centred = softmax.logits - _sum(softmax.logits) / softmax.logits.shape[-1]
    sizes = np.abs(centred)
    unit = np.maximum(_largest(sizes), TINY)
    sizes /= unit  # at most 1, so that no power overflows
    norm = np.maximum(np.power(_sum(np.power(sizes, p)), 1 / p), 1.0)
    score: Floats = _largest(centred) / (unit * norm)
    return score[..., 0]


def gain(helps: Learned, spoils: Learned, softmax: Softmax) -> Floats:
    """P(the cloud spoils the answer) less P(it helps), as learned."""
    top, known = softmax.logits.argmax(axis=-1), features(softmax)
    return spoils(top, known) - helps(top, known)


def features(softmax: Softmax) -> Features:
    """What a ``Logistic`` weighs beside the top class: msp, margin, negent."""
    return msp(softmax), margin(softmax), negent(softmax)


def _probability(model: score.Logistic) -> Learned:
    bias = np.array(model.bias)

    def probability(top: NDArray[np.intp], known: Features) -> Floats:
        odds: Floats = bias[top]
        for weight, feature in zip(model.weights, known, strict=True):
            odds = odds + weight * feature
        return 0.5 + 0.5 * np.tanh(odds / 2)  # exp() would overflow

    return probability


def _nil(_top: NDArray[np.intp], known: Features) -> Floats:
    return 0.0 * known[0]


def _sum(values: Floats) -> Floats:
    """(..., classes) to (..., 1)."""
    total: Floats = np.add.reduce(values, axis=-1, keepdims=True)
    return total


def _largest(values: Floats) -> Floats:
    """(..., classes) to (..., 1); NaN where one is."""
    largest: Floats = np.maximum.reduce(values, axis=-1, keepdims=True)
    return largest


_PLAIN: dict[Any, Measure] = {
    score.Msp: msp,
    score.Margin: margin,
    score.Negent: negent,
    score.Energy: energy,
}
