"""Two models whose every risk is known: Gaussian margins, 74.4 % and 81.5 % right, a noisy score.

The edge is right where its margin is positive, and so is the cloud; the score is the edge's margin
with noise. Given the score both margins are Gaussian, so that every risk is an integral over scores.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.certificate import Promise
from edge_node.prepare.certify.promises import Trial

Floats = NDArray[np.float64]
EDGE, CLOUD = 0.6557, 0.8965
"""Mean margins, in standard deviations."""


def _share_above_zero(means: Floats, deviation: float) -> Floats:
    return np.array([0.5 * math.erfc(-mean / deviation / math.sqrt(2)) for mean in means])


@dataclass(frozen=True)
class Pair:
    """The population."""

    together: float = 0.85
    """Correlation of the margins."""
    noise: float = 0.5
    """Standard deviation of the score about the edge's margin."""

    @cached_property
    def table(self) -> tuple[Floats, Floats]:
        """Thresholds, loosest first, and the drop of accuracy at each."""
        spread = 1 + self.noise**2
        scores = EDGE + math.sqrt(spread) * np.linspace(-6, 6, 4001)
        known = (scores - EDGE) / spread
        edge = _share_above_zero(EDGE + known, math.sqrt(1 - 1 / spread))
        cloud = _share_above_zero(CLOUD + self.together * known, math.sqrt(1 - self.together**2 / spread))
        density = np.exp(-((scores - EDGE) ** 2) / spread / 2)
        cells = (cloud - edge) * density / density.sum()
        return scores, np.cumsum(cells[::-1])[::-1]

    def drop(self, threshold: float) -> float:
        """Accuracy of the cloud less that of the hybrid."""
        scores, drops = self.table
        return float(np.interp(threshold, scores, drops))

    def threshold(self, share: float) -> float:
        """Where so much of the inputs are deferred."""
        scores, _ = self.table
        spread = 1 + self.noise**2
        density = np.exp(-((scores - EDGE) ** 2) / spread / 2)
        return float(np.interp(share, np.cumsum(density) / density.sum(), scores))

    def offload(self, threshold: float) -> float:
        """Share that is deferred."""
        return 0.5 * math.erfc((EDGE - threshold) / math.sqrt(2 * (1 + self.noise**2)))

    def oracle(self, epsilon: float) -> float:
        """Least offload from which on the drop is at most epsilon."""
        scores, drops = self.table
        return self.offload(float(scores[np.flatnonzero(drops > epsilon).max() + 1]))

    def draw(self, count: int, draw: np.random.Generator, promise: Promise = "drop") -> Trial:
        """CERT samples."""
        margin = EDGE + draw.normal(size=count)
        other = math.sqrt(1 - self.together**2) * draw.normal(size=count)
        edge, cloud = margin > 0, CLOUD + self.together * (margin - EDGE) + other > 0
        costs = {"drop": cloud.astype(int) - edge, "harm": cloud & ~edge, "selective": ~edge}[promise]
        return Trial(promise, margin + self.noise * draw.normal(size=count), costs.astype(np.int64))
