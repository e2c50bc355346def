"""fp32, fp16 and every int8 variant side by side: the same samples, in turns, on this machine."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from edge_node.meters.sensors import Sensor
from edge_node.prepare import variants
from edge_node.prepare.choice import REFERENCE, Candidate, Choice, choose
from edge_node.prepare.compare_energy import joules_of
from edge_node.prepare.compare_memory import Memory, memory_of
from edge_node.prepare.data import Samples
from edge_node.prepare.equalize import equalize
from edge_node.prepare.errors import GraphError
from edge_node.prepare.footprint import live_bytes
from edge_node.prepare.measure import Logits, Measures, compare, interleaved, logits_of, ratios
from edge_node.prepare.progress import counted, log
from edge_node.prepare.search import StaticRecipe, best
from edge_node.prepare.targets import Target
from edge_node.prepare.variants import Calibration, Static
from protos.artifact import Precision
from protos.codec import Tensor

_BINS = 15
_STATIC = "static "
"""All of them are equally fast: which is best, their answers say."""
_ROUNDS = 100
"""At least: fewer have no 99th percentile."""


@dataclass(frozen=True)
class Contestant:
    """A model to compare."""

    name: str
    precision: Precision
    model: onnx.ModelProto


@dataclass(frozen=True)
class Timing:
    """One inference on this machine, at one number of threads."""

    p50: float
    """Seconds, as ``p99``."""
    p99: float
    share: float
    """Median over the rounds of the time as a share of the first contestant's."""


@dataclass(frozen=True)
class Row:
    """All that is known of one contestant; none stands for what this machine cannot measure."""

    name: str
    precision: Precision
    size: int
    """Bytes of the file."""
    measures: Measures
    calibration_error: float | None
    """Expected calibration error; none without labels."""
    live: int | None
    """Bytes of the largest live set, computed; none where a shape is not known."""
    memory: Memory | None
    timings: Mapping[int, Timing]
    """By number of threads."""
    joules: float | None
    """Of one inference."""


def variants_of(
    model: onnx.ModelProto, target: Target, inputs: Tensor, ranges: Sequence[Calibration]
) -> list[Contestant]:
    """The folded float model, then each way to make it smaller; ``inputs`` (n, ...) give the ranges."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Static(Path(folder) / "plain", model, target, inputs)
        statics = [plain]
        if (equalized := equalize(model, inputs)) is not None:
            statics.append(Static(Path(folder) / "equalised", equalized, target, inputs))
        recipes = [
            StaticRecipe(static, one, corrected, equalized=static is not plain)
            for one in ranges
            for static in statics
            for corrected in (False, True)
        ]
        return [
            Contestant(REFERENCE, "fp32", model),
            *(Contestant(it.name, "int8", it.make()) for it in counted(recipes, "quantising")),
            Contestant("fp16", "fp16", variants.fp16(model)),
            Contestant("weight-only", "int8", plain.weight_only(ranges[0])),
            Contestant("dynamic", "int8", variants.dynamic(model, target)),
        ]


def rows_of(
    contestants: Sequence[Contestant], samples: Samples, threads: Sequence[int], meter: Sensor | None
) -> list[Row]:
    """Measure them all; the first is the reference of agreement, drop and time."""
    models = {one.name: one.model for one in contestants}
    logits = {one.name: logits_of(one.model, samples.inputs) for one in counted(contestants, "answering")}
    reference = logits[contestants[0].name]
    timings = timings_of(models, samples.inputs, threads)
    memory = memory_of(models, samples.inputs[0])
    joules = joules_of(models, samples.inputs[0], meter) if meter else {}
    return [
        Row(
            name=one.name,
            precision=one.precision,
            size=one.model.ByteSize(),
            measures=compare(reference, logits[one.name], samples.labels),
            calibration_error=None
            if samples.labels is None
            else calibration_error(logits[one.name], samples.labels),
            live=_live(one.model),
            memory=memory.get(one.name),
            timings={count: of[one.name] for count, of in timings.items()},
            joules=joules.get(one.name),
        )
        for one in contestants
    ]


def timings_of(
    models: Mapping[str, onnx.ModelProto], inputs: Tensor, threads: Sequence[int]
) -> dict[int, dict[str, Timing]]:
    """By threads, then by name; all models take turns."""
    found = {}
    for count in threads:
        log.info("timing at %d thread(s)", count)
        times = interleaved(models, inputs[0], count, _ROUNDS)
        shares = ratios(times, next(iter(models)))
        found[count] = {
            name: Timing(statistics.median(taken), float(np.quantile(taken, 0.99)), shares[name])
            for name, taken in times.items()
        }
    return found


def calibration_error(logits: Logits, labels: NDArray[np.int64]) -> float:
    """Expected calibration error: how far confidence is from accuracy, over 15 equal bins (Guo 2017)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    confidence = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    gap = (logits.argmax(axis=1) == labels) - confidence
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    return float(np.abs(np.bincount(bins, gap, _BINS)).sum() / len(labels))


def chosen(rows: Sequence[Row], max_drop: float) -> Choice | None:
    """By the rule of ``prepare quantize``; none if there is no fp32 reference to hold them to."""
    if rows[0].name != REFERENCE:
        return None
    static = [row for row in rows if row.name.startswith(_STATIC)]
    finalists = [best(static, max_drop), *(row for row in rows if row not in static)]
    return choose(
        [
            Candidate(it.name, it.precision, it.measures.drop.value, it.size, it.timings[1].share)
            for it in finalists
        ],
        max_drop,
    )


def quality(row: Row) -> float:
    """Top-1 where there are labels, else agreement with the reference."""
    return (row.measures.accuracy or row.measures.agreement).value


def front(rows: Sequence[Row], costs: Sequence[float]) -> set[str]:
    """Names that nothing beats: who costs less is less right, who is more right costs more."""
    pairs = list(zip((quality(row) for row in rows), costs, strict=True))
    return {
        row.name
        for row, (right, cost) in zip(rows, pairs, strict=True)
        if not any(
            other >= right and price <= cost and (other, price) != (right, cost) for other, price in pairs
        )
    }


def precision_of(model: onnx.ModelProto) -> Precision:
    """What its graph shows."""
    operators = " ".join(node.op_type for node in model.graph.node)
    if any(word in operators for word in ("Quantize", "Dequantize", "QLinear", "Integer")):
        return "int8"
    halves = any(it.data_type == TensorProto.FLOAT16 for it in model.graph.initializer)
    return "fp16" if halves else "fp32"


def _live(model: onnx.ModelProto) -> int | None:
    try:
        return live_bytes(model)
    except GraphError:
        return None
