"""All that is decided before CERT is looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.gate import scores
from edge_node.prepare.certify import temperature as scaling
from edge_node.prepare.certify import testing
from edge_node.prepare.certify.choose import choose
from edge_node.prepare.certify.evidence import Evidence
from protos.score import ScoreSpec

QUANTILES = 257


@dataclass(frozen=True)
class Tuned:
    """What TUNE decided, and TUNE."""

    score: ScoreSpec
    temperature: float
    grid: tuple[float, ...]
    tune: Evidence

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n,); NaN where a logit is not finite."""
        return scores.make(self.score, self.temperature)(logits)

    def quantiles(self) -> tuple[float, ...]:
        """Of the score on TUNE, at 0, 1/256, ..., 1."""
        values = self.scores(self.tune.logits)
        table = np.quantile(values[~np.isnan(values)], np.linspace(0, 1, QUANTILES))
        return tuple(map(float, table))


def tuned(tune: Evidence, *, score: ScoreSpec | None = None, seed: int = 0) -> Tuned:
    """Temperature, score (chosen unless given) and grid from TUNE.

    The temperature is fitted to the labels or, without, to the cloud's answers.
    """
    found = scaling.fit(tune.logits, tune.cloud if tune.labels is None else tune.labels)
    spec = score or choose(tune, found, seed)
    return Tuned(spec, found, testing.grid(scores.make(spec, found)(tune.logits)), tune)
