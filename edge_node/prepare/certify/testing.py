"""p-values for "the risk is above epsilon", and the fixed sequence of tests that may use them."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_node.gate import binomial
from edge_node.gate.certificate import Method

CAUTION = 0.75
"""Share of its capital that one bet may lose."""


def binomial_p(bad: int, count: int, epsilon: float) -> float:
    """Exact: how likely so few bad of ``count`` are if the risk is ``epsilon``; 1 without a count."""
    return binomial.at_most(bad, count, epsilon)


def betting_p(losses: ArrayLike, epsilon: float, delta: float, low: float = -1.0, high: float = 1.0) -> float:
    """p-value of "the mean is above epsilon" for losses (n,) in [low, high], in an order fixed beforehand.

    Waudby-Smith and Ramdas (2024): the wealth of one who bets against it, with stakes that know the
    past only and are best for level ``delta``. By Ville's inequality it ever reaches 1/p with
    probability p at most.
    """
    scaled = (np.asarray(losses, np.float64) - low) / (high - low)
    mean = (epsilon - low) / (high - low)
    count = len(scaled)
    if not count or mean >= 1:
        return float(mean < 1)
    seen = np.arange(2, count + 2)
    means = (0.5 + np.cumsum(scaled)) / seen
    variances = (0.25 + np.cumsum((scaled - means) ** 2)) / seen
    known = np.concatenate([[0.25], variances[:-1]])
    stakes = np.minimum(np.sqrt(2 * np.log(1 / delta) / (count * known)), CAUTION / (1 - mean))
    wealth = np.cumsum(np.log1p(stakes * (mean - scaled)))
    return float(np.exp(-max(0.0, wealth.max())))


def least_samples(method: Method, epsilon: float, delta: float) -> int:
    """How many it takes to certify ``epsilon`` if none of them counts against it."""
    exact = math.ceil(math.log(delta) / math.log1p(-epsilon))
    if method == "binomial":
        return exact
    return next(n for n in itertools.count(exact) if betting_p(np.zeros(n), epsilon, delta) <= delta)


def fixed_sequence(p_value: Callable[[int], float], steps: int, delta: float) -> list[float]:
    """p-values of tests 0, 1, ... up to and with the first above ``delta``: no test follows a failed one.

    All tests before it are rejected; the chance that a true one is among them is at most ``delta``,
    however many there are (Angelopoulos et al. 2021, Learn then Test).
    """
    found: list[float] = []
    while len(found) < steps and (not found or found[-1] <= delta):
        found.append(p_value(len(found)))
    return found


def grid(scores: NDArray[np.float64], steps: int = 100) -> tuple[float, ...]:
    """Thresholds from strict to loose: the scores' own quantiles 0.99, 0.98, ... 0, each once."""
    shares = np.arange(steps - 1, -1, -1) / steps
    values = np.quantile(scores[~np.isnan(scores)], shares, method="inverted_cdf")
    return tuple(float(value) for value in dict.fromkeys(values))


def loosest(p_values: Sequence[float], delta: float) -> int | None:
    """Index of the last test that a fixed sequence rejected; none if the first stood."""
    rejected = len(p_values) - (p_values[-1] > delta)
    return rejected - 1 if rejected else None
