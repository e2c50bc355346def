"""Anytime-valid tests of a mean by betting: look as often as you like, the error stays below alpha.

The tester bets on each observation x against the claim that its mean is at most m (bets > 0) or
at least m (bets < 0): a stake of 1 becomes the product of 1 + bet (x - m), which no strategy can
expect to grow while the claim holds, so that it ever reaches 1/alpha has probability alpha
(Ville). For x in {0, 1} and bet (c - 1) / (1 - m) this is the likelihood ratio of a share c m
against m.

A test that has watched a healthy stream for long has lost its stake, and would need as long again
to win it back. So half of the stake is bet at once, and the rest is held back and bet bit by bit:
a mixture over the time of change, as in e-detectors (Shin, Ramdas and Rinaldo, 2022), yet with
shares that sum to one, which keeps alpha for the whole life of the test, not for a run length.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

RATIOS = (1.2, 1.5, 2, 3, 5, 8)
"""Disagreement that the alarm bets on, as multiples of what the certificate allows."""
RECOVERIES = (0.8, 0.67, 0.5, 0.33, 0.2)
"""Disagreement that the all-clear bets on."""
STAKES = (0.05, 0.1, 0.2, 0.4, 0.75)
"""Bets on a signed difference, as shares of the largest that cannot ruin."""
ALPHA = 1e-3
MOST = 1e12
"""Wealth beyond this is given away: it stays finite, and giving is always allowed."""

Array = NDArray[np.float64]


class Wealth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a test has to remember over a restart."""

    seen: int
    parts: tuple[float, ...]
    """One a bet: what its stakes have become."""
    peak: float


def held_back(seen: int) -> float:
    """Share of the stake not yet bet after ``seen`` observations: a half at first, then ever less."""
    return 1 / (2 + math.log1p(seen / 100))


def wager(parts: Array, bets: Array, x: float | Array, mean: float, seen: int) -> Array:
    """What stakes ``parts`` (bets, ...) have become after the observation number ``seen`` + 1."""
    released = held_back(seen) - held_back(seen + 1)
    return np.minimum((parts + released) * (1 + bets * (x - mean)), MOST)


class EProcess:
    """Evidence against "the mean is at most ``mean``" (or at least, if the bets are negative)."""

    def __init__(
        self, mean: float, bets: Sequence[float], alpha: float, wealth: Wealth | None = None
    ) -> None:
        if not bets:
            raise ValueError(f"there is nothing to bet on against a mean of {mean:g}: no alarm can be raised")
        self.mean, self.alpha = mean, alpha
        self._bets = np.array(bets, np.float64)
        fresh = Wealth(0, (1 - held_back(0),) * len(bets), 1.0)
        self._seen, self._parts, self._peak = 0, np.empty(0), 1.0
        self._resume(wealth if wealth is not None and len(wealth.parts) == len(bets) else fresh)

    def _resume(self, wealth: Wealth) -> None:
        self._seen, self._parts, self._peak = wealth.seen, np.array(wealth.parts), wealth.peak

    def update(self, x: float) -> bool:
        """Take one observation; whether the claim is (now or since earlier) rejected."""
        self._parts = wager(self._parts, self._bets, x, self.mean, self._seen)
        self._seen += 1
        self._peak = max(self._peak, self.value)
        return self.rejected

    @property
    def value(self) -> float:
        """Evidence now: 1 at the start, and 1/alpha is enough."""
        return float(self._parts.sum()) / len(self._parts) + held_back(self._seen)

    @property
    def seen(self) -> int:
        """Observations taken."""
        return self._seen

    @property
    def rejected(self) -> bool:
        """Whether the evidence has ever been enough."""
        return self._peak >= 1 / self.alpha

    def wealth(self) -> Wealth:
        """What to keep over a restart."""
        return Wealth(self._seen, tuple(self._parts.tolist()), self._peak)


class Pooled:
    """A test that counts what is seen within so many seconds once, by its mean.

    The inputs of one scene of a camera say the same again and again. Bet on one by one, a scene that the
    models differ on is a drift: with scenes of 100 inputs, false alarms are the rule and not the exception.
    """

    def __init__(self, test: EProcess, seconds: float) -> None:
        self.test, self._seconds = test, seconds
        self._pool, self._sum, self._count = 0.0, 0.0, 0

    def update(self, x: float, at: float) -> bool:
        """Take an observation made at a moment; whether the pools that have ended reject the claim."""
        if not self._seconds:
            return self.test.update(x)
        if (pool := at // self._seconds) != self._pool and self._count:
            self.test.update(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        self._pool, self._sum, self._count = pool, self._sum + x, self._count + 1
        return self.test.rejected


def ratio_bets(share: float, ratios: Sequence[float] = RATIOS) -> list[float]:
    """Bets that are likelihood ratios of a share of ones ``ratio`` x ``share`` against ``share``."""
    return [(ratio - 1) / (1 - share) for ratio in ratios if ratio * share < 0.95]


def drift_alarm(share: float, alpha: float = ALPHA, wealth: Wealth | None = None) -> EProcess:
    """Alarm that kept inputs disagree with the cloud more often than ``share``, the certificate's bound."""
    return EProcess(share, ratio_bets(share), alpha, wealth)


def all_clear(share: float, alpha: float, wealth: Wealth | None = None) -> EProcess:
    """Proof that kept inputs disagree with the cloud less often than ``share``."""
    return EProcess(share, ratio_bets(share, RECOVERIES), alpha, wealth)


def above(mean: float, alpha: float, wealth: Wealth | None = None) -> EProcess:
    """Proof that the mean of differences in [-1, 1] is more than ``mean``."""
    return EProcess(mean, [stake / (1 + mean) for stake in STAKES], alpha, wealth)


def below(mean: float, alpha: float, wealth: Wealth | None = None) -> EProcess:
    """Proof that the mean of differences in [-1, 1] is less than ``mean``."""
    return EProcess(mean, [-stake / (1 - mean) for stake in STAKES], alpha, wealth)


def audits_to_detect(share: float, drifted: float, alpha: float = ALPHA, seen: int = 0) -> float:
    """About how many audits the alarm takes when disagreement drifts above ``share`` after ``seen`` audits.

    What the best bet must win, over its rate of growth (Kelly, 1956); infinite where no bet wins.
    """
    bets = np.array(ratio_bets(share))
    growth = drifted * np.log1p(bets * (1 - share)) + (1 - drifted) * np.log1p(-bets * share)
    best = float(growth.max(initial=0.0))
    if best <= 0:
        return math.inf
    released = held_back(seen) - held_back(seen + 1)
    stake = min(released / best, 1 - held_back(0)) if seen else 1 - held_back(0)
    return math.log(len(bets) / (alpha * stake)) / best
