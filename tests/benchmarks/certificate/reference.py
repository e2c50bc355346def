"""The gate in thirty lines: what a careful user would write without us, to be no worse than."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def msp(logits: NDArray[np.float32]) -> Floats:
    """Max softmax probability (n,), at temperature 1."""
    spread = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(1 / np.exp(spread).sum(1))


def grid(scores: Floats, steps: int = 100) -> Floats:
    """Quantiles 0.99, 0.98, ... 0: strict thresholds first."""
    return np.quantile(scores, np.arange(steps - 1, -1, -1) / steps)


def p_value(losses: Floats, epsilon: float, delta: float) -> float:
    """Waudby-Smith and Ramdas' betting test of "mean loss > epsilon" for losses (n,) in [-1, 1]."""
    x, m, n = (losses + 1) / 2, (1 + epsilon) / 2, len(losses)
    mean = (0.5 + np.cumsum(x)) / np.arange(2, n + 2)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / np.arange(2, n + 2)
    stakes = np.sqrt(2 * np.log(1 / delta) / (n * np.concatenate([[0.25], variance[:-1]])))
    wealth = np.cumsum(np.log1p(np.minimum(stakes, 0.75 / (1 - m)) * (m - x)))
    return float(np.exp(-max(0.0, wealth.max())))


def certified(tune: Floats, scores: Floats, gain: Floats, epsilon: float, delta: float) -> float:
    """Loosest threshold that a fixed sequence of tests certifies; infinity where it certifies none.

    ``tune``: scores that the grid comes from; ``scores`` and ``gain`` (cloud right - edge right): CERT.
    """
    found = np.inf
    for threshold in grid(tune):
        if p_value((scores >= threshold) * gain, epsilon, delta) > delta:
            break
        found = float(threshold)
    return found


def naive(tune: Floats, scores: Floats, gain: Floats, epsilon: float) -> float:
    """The usual way: the loosest threshold whose drop on the same data is epsilon at most."""
    kept = [float(it) for it in grid(tune) if ((scores >= it) * gain).mean() <= epsilon]
    return min(kept, default=np.inf)
