"""How far a model's answers are from the reference's, and how long they take on this machine."""

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_node.prepare.data import Samples
from edge_node.prepare.errors import GraphError
from edge_node.prepare.graph import runnable, to_session
from protos.codec import Tensor

Z = 1.959964
"""Standard errors to either side that hold 95 %."""
_ROUNDS = (5, 201)
_SECONDS = 5.0

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Share:
    """A share of the samples, and the bounds that hold the true one with 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measures:
    """A model against the fp32 reference, on the same samples."""

    agreement: Share
    """Same top-1 as the reference."""
    accuracy: Share | None
    """Right by the labels; none without labels."""
    drop: Share
    """Accuracy lost. Without labels the share of changed answers: no accuracy can have lost more."""
    distance: float
    """Mean Kullback-Leibler divergence of the confidences from the reference's, in nats."""


def logits_of(model: onnx.ModelProto, inputs: Tensor) -> Logits:
    """(n, classes): each sample on its own, as on the device."""
    session = runnable(model, "a variant")
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in inputs]).astype(np.float32)


def compare(reference: Logits, logits: Logits, labels: NDArray[np.int64] | None) -> Measures:
    """Both logits of the same samples; ``labels`` (n,) or none."""
    if not np.isfinite(reference).all():
        raise GraphError("the model gives NaN or infinite logits for some samples")
    before, after = reference.argmax(1), logits.argmax(1)
    agreement = wilson(int((before == after).sum()), len(before))
    if labels is None:
        changed = Share(1 - agreement.value, 1 - agreement.high, 1 - agreement.low)
        return Measures(agreement, None, changed, distance(reference, logits))
    right_before, right_after = before == labels, after == labels
    return Measures(
        agreement,
        wilson(int(right_after.sum()), len(labels)),
        paired(
            int((right_before & ~right_after).sum()), int((right_after & ~right_before).sum()), len(labels)
        ),
        distance(reference, logits),
    )


def wilson(hits: int, count: int) -> Share:
    """A share with its Wilson score interval."""
    centre = (hits + Z**2 / 2) / (count + Z**2)
    half = Z / (count + Z**2) * math.sqrt(hits * (count - hits) / count + Z**2 / 4)
    return Share(hits / count, max(0.0, centre - half), min(1.0, centre + half))


def paired(lost: int, won: int, count: int) -> Share:
    """(lost - won) / count with the interval of Bonett and Price (2012) for paired shares."""
    down, up, total = (lost + 1) / (count + 2), (won + 1) / (count + 2), count + 2
    half = Z * math.sqrt((down + up - (down - up) ** 2) / total)
    return Share((lost - won) / count, down - up - half, down - up + half)


def distance(reference: Logits, logits: Logits) -> float:
    """Mean divergence of softmax(logits) from softmax(reference); infinite if a logit is no number."""
    if not np.isfinite(logits).all():
        return math.inf
    wanted, found = _log_softmax(reference), _log_softmax(logits)
    return float((np.exp(wanted) * (wanted - found)).sum(axis=1).mean())


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def interleaved(
    models: Mapping[str, onnx.ModelProto], sample: Tensor, threads: int = 1, least: int = _ROUNDS[0]
) -> dict[str, list[float]]:
    """Seconds of one inference, ``least`` rounds or more: round i of all models saw the same machine."""
    sessions = {name: to_session(model, threads) for name, model in models.items()}
    warm = sum(min(_seconds(session, sample) for _ in range(3)) for session in sessions.values())
    rounds = int(min(max(_SECONDS / warm, least), _ROUNDS[1]))
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            times[name].append(_seconds(session, sample))
    return times


def ratios(times: Mapping[str, list[float]], reference: str) -> dict[str, float]:
    """Median over the rounds of each model's time as a share of the reference's: a busy neighbour cancels."""
    return {
        name: statistics.median(one / base for one, base in zip(taken, times[reference], strict=True))
        for name, taken in times.items()
    }


def _seconds(session: Any, sample: Tensor) -> float:
    feed = {session.get_inputs()[0].name: sample[None]}
    start = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - start


def measure(model: onnx.ModelProto, reference: Logits, samples: Samples) -> Measures:
    """A variant against the reference logits of the same samples."""
    return compare(reference, logits_of(model, samples.inputs), samples.labels)
