"""The deferral rule: trust the edge where its confidence reaches a threshold."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER = math.inf
"""A threshold that no confidence reaches."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the edge says, and whether that is enough."""

    class_index: int
    confidence: float
    accepted: bool


@dataclass(frozen=True, slots=True)
class ConfidenceGate:
    """Max softmax probability after temperature scaling, against a threshold."""

    temperature: float
    threshold: float

    def decide(self, logits: NDArray[np.float32]) -> Decision:
        """``logits``: float32 (classes,). NaN or infinity anywhere defers with confidence 0."""
        class_index, confidence = softmax_top(logits, self.temperature)
        return Decision(class_index, confidence, accepted=confidence >= self.threshold and confidence > 0)


def softmax_top(logits: NDArray[np.float32], temperature: float = 1.0) -> tuple[int, float]:
    """(top class, its softmax probability); probability 0 if a logit is NaN or infinite, or there is none."""
    if not logits.size:
        return 0, 0.0
    top = int(logits.argmax())  # of a NaN, if there is one
    if not (math.isfinite(logits[top]) and math.isfinite(logits.min())):
        return top, 0.0
    with np.errstate(over="ignore"):  # so far below the top that it adds nothing
        return top, 1.0 / float(np.exp((logits - logits[top]) / temperature).sum())
