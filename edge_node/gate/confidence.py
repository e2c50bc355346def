"""The deferral rule: trust the edge where the score of its logits reaches a threshold."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.scores import Measure, Softmax, msp

NEVER = math.inf
"""A threshold that no score reaches."""
ALWAYS = -math.inf
"""A threshold that every score reaches, and NaN does not."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the edge says, and whether that is enough."""

    class_index: int
    confidence: float
    """Max softmax(logits / temperature): what is published. 0 where a logit is not finite."""
    score: float
    """What the threshold is compared to; NaN where a logit is not finite."""
    accepted: bool


@dataclass(frozen=True, slots=True)
class ConfidenceGate:
    """A score of the logits against a threshold; by default max softmax(logits / temperature)."""

    temperature: float
    threshold: float
    score: Measure = msp

    def decide(self, logits: NDArray[np.float32]) -> Decision:
        """``logits``: float32 (classes,). NaN or infinity anywhere, or no class at all, defers."""
        softmax = Softmax.of(logits, self.temperature)
        score = float(self.score(softmax))
        confidence = 1.0 / float(softmax.total)
        top = int(softmax.logits.argmax())
        return Decision(top, 0.0 if math.isnan(confidence) else confidence, score, score >= self.threshold)


def softmax_top(logits: NDArray[np.float32], temperature: float = 1.0) -> tuple[int, float]:
    """(top class, its softmax probability); probability 0 if a logit is NaN or infinite, or there is none."""
    decision = ConfidenceGate(temperature, NEVER).decide(logits)
    return decision.class_index, decision.confidence
