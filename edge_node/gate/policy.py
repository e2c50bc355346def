"""Which gate a node has: the artifact's, as the settings have it."""

import hashlib
import math

from edge_node import config
from edge_node.errors import NodeError
from edge_node.gate.confidence import ALWAYS, NEVER, ConfidenceGate
from edge_node.gate.scores import Floats, Measure, Softmax, measure_of, negent
from protos.artifact import Artifact
from protos.artifact import Gate as OwnGate

SEDNA = {"Threshold": "threshold", "EdgeOnly": "always_edge", "CloudOnly": "always_cloud", "Random": "random"}
"""What Sedna calls our policies."""
FIXED = {"always_edge": ALWAYS, "always_cloud": NEVER}


def make_gate(settings: config.Gate, artifact: Artifact) -> ConfidenceGate:
    """The gate of the artifact, as the settings have it; ``NodeError`` for a missing or a bad threshold."""
    own = artifact.manifest.gate or OwnGate(threshold=math.nan)
    policy = SEDNA.get(settings.policy, settings.policy)
    if policy in FIXED:
        return ConfidenceGate(own.temperature, FIXED[policy], measure_of(own.score))
    if policy == "threshold":
        return _gate(settings, own, measure_of(own.score), own.score.bounds)
    own = OwnGate(temperature=own.temperature, threshold=math.nan)
    return _gate(settings, own, SCORES[policy], (0.0, 1.0))


def _gate(settings: config.Gate, own: OwnGate, score: Measure, bounds: tuple[float, float]) -> ConfidenceGate:
    low, high = bounds
    threshold = own.threshold if settings.threshold is None else settings.threshold
    if math.isnan(threshold):
        raise NodeError(f"the artifact has no threshold for policy {settings.policy}: set [gate] threshold")
    if settings.threshold is not None and not low <= threshold <= high:
        raise NodeError(f"[gate] threshold = {threshold:g}: this score lies between {low:g} and {high:g}")
    return ConfidenceGate(own.temperature, threshold, score)


def cross_entropy(softmax: Softmax) -> Floats:
    """1 + sum p log p / log(classes), 0 to 1; NaN for a single class."""
    return 1.0 + negent(softmax) / (math.log(softmax.weights.shape[-1]) or math.nan)


def chance(softmax: Softmax) -> Floats:
    """A number from 0 to 1 drawn by the logits (classes,) themselves: a sample always has the same."""
    drawn = hashlib.blake2b(softmax.logits.tobytes(), digest_size=8).digest()
    return 0.0 * softmax.total + int.from_bytes(drawn) / 2**64


SCORES: dict[str, Measure] = {"CrossEntropy": cross_entropy, "random": chance}
"""Policies with a score of their own."""
