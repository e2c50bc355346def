"""Exact binomial tails and Clopper-Pearson bounds, without scipy: the device has none.

Binomial tails are incomplete beta functions; those are evaluated by the continued fraction
of the Digital Library of Mathematical Functions, 8.17.22, with Lentz's algorithm.
"""

import math

TINY = 1e-300
PRECISION = 1e-15
MAX_TERMS = 100_000
"""Enough for a million trials: the fraction needs about the root of the larger parameter."""


def at_most(successes: int, trials: int, p: float) -> float:
    """Probability of at most ``successes`` in ``trials``, each of probability ``p``."""
    if successes >= trials or p <= 0:
        return 1.0
    if successes < 0 or p >= 1:
        return 0.0
    return _beta(trials - successes, successes + 1, 1 - p, p)


def upper(successes: int, trials: int, delta: float) -> float:
    """Clopper-Pearson: the p which so few ``successes`` have probability ``delta`` at; 1 without trials."""
    if successes >= trials:
        return 1.0
    if successes == 0:
        return -math.expm1(math.log(delta) / trials)
    low, high = successes / trials, 1.0
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if at_most(successes, trials, middle) > delta else (low, middle)
    return high


def lower(successes: int, trials: int, delta: float) -> float:
    """Clopper-Pearson: the p which so many ``successes`` have probability ``delta`` at; 0 without trials."""
    return 1 - upper(trials - successes, trials, delta) if trials else 0.0


def _beta(a: int, b: int, x: float, rest: float) -> float:
    """Regularised incomplete beta function at ``x`` = 1 - ``rest``, for 0 < x < 1."""
    if x > (a + 1) / (a + b + 2):  # on this side the fraction of the mirrored function converges
        return 1 - _beta(b, a, rest, x)
    size = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(size) * _fraction(a, b, x) / a


def _fraction(a: int, b: int, x: float) -> float:
    """Continued fraction of the incomplete beta function, by Lentz's algorithm."""
    value, c, d = 1.0, 1.0, 0.0
    for term in range(1, MAX_TERMS):
        step = _numerator(term, a, b, x)
        d = 1 / ((1 + step * d) or TINY)
        c = (1 + step / c) or TINY
        value *= c * d
        if abs(c * d - 1) < PRECISION:
            break
    return 1 / value


def _numerator(term: int, a: int, b: int, x: float) -> float:
    """The fraction's ``term``-th partial numerator, counted from 1."""
    m, odd = divmod(term, 2)
    if odd:
        return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
