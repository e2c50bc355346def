"""What a decision costs a device: every score, beside the softmax alone, and all that watches over it."""

import statistics
import timeit
from collections.abc import Callable
from functools import partial
from itertools import count

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.confidence import ConfidenceGate
from edge_node.gate.scores import Softmax, measure_of
from protos.score import Energy, Gain, Logistic, Margin, MaxLogitPNorm, Msp, Negent, ScoreSpec
from tests.benchmarks.certificate.stream import Gate, Settings
from tests.benchmarks.table import Row
from tests.gate.certificates import certificate

CLASSES = (10, 1000)
ROUNDS, CALLS = 25, 200


def measure() -> dict[str, list[Row]]:
    """Median microseconds of one decision, by score and number of classes."""
    columns = [_column(classes) for classes in CLASSES]
    headings = [f"{classes} classes, µs" for classes in CLASSES]
    rows: list[Row] = [
        {"decision by": name, **dict(zip(headings, [column[name] for column in columns], strict=True))}
        for name in columns[0]
    ]
    return {"a decision of the gate": rows}


def _column(classes: int) -> dict[str, float]:
    """The softmax alone, then every score; interleaved, so that all see the same machine."""
    logits = np.random.default_rng(0).normal(0, 3, classes).astype(np.float32)
    calls: dict[str, Callable[[], object]] = {"(softmax alone)": partial(Softmax.of, logits, 1.3)}
    for spec in _specs(classes):
        gate = ConfidenceGate(1.3, 0.5, measure_of(spec))
        calls[str(spec.__struct_config__.tag)] = partial(gate.decide, logits)
    calls["msp, with budget, benefit and audit"] = _watched(logits)
    rounds = [[timeit.timeit(call, number=CALLS) for call in calls.values()] for _ in range(ROUNDS)]
    medians = [statistics.median(it) / CALLS * 1e6 for it in zip(*rounds, strict=True)]
    return dict(zip(calls, medians, strict=True))


def _watched(logits: NDArray[np.float32]) -> Callable[[], object]:
    """Decision and ruling of a certified node with an offload budget."""
    oversight = Gate(certificate(), Settings(budget=0.3), b"a key").oversight
    gate, ids = ConfidenceGate(1.3, 0.3, measure_of(Msp())), count()
    return lambda: oversight.rule(f"lab.a.1.{next(ids)}", gate.decide(logits), 1000)


def _specs(classes: int) -> list[ScoreSpec]:
    learned = Logistic(weights=(1.0, 1.0, 1.0), bias=(0.0,) * classes)
    return [Msp(), Margin(), Negent(), Energy(), MaxLogitPNorm(p=7), Gain(helps=learned, spoils=learned)]
