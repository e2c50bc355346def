"""Which layer hurts: how much noise quantisation adds to the weights and the output of each layer."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from edge_node.prepare.graph import to_session
from edge_node.prepare.mixed import quantized_layers
from edge_node.prepare.qdq import rounded_weights
from edge_node.prepare.weights import Graph, attribute
from protos.codec import Tensor

CLEAN = 99.0
"""dB: no noise to speak of."""
_SAMPLES = 16
_SPREAD = 60.0
_PEAKY = 8.0
_UNEQUAL = 50.0


@dataclass(frozen=True)
class Layer:
    """Signal to quantisation noise of one layer, in dB: 40 is clean, 20 is a tenth off, 0 is all noise."""

    name: str
    what: str
    """Operator and size, in words."""
    weights: float | None
    output: float
    """Of what it gives, against the float model."""
    own: float
    """The same without the noise that came in."""
    cause: str
    """What about the layer is hard to quantise; empty if nothing stands out."""

    def __str__(self) -> str:
        noise = f"layer {self.name} ({self.what}): its signal is {self.own:.0f} dB above the noise it adds"
        return f"{noise}; {self.cause}" if self.cause else noise


def layers_of(model: onnx.ModelProto, quantized: onnx.ModelProto, inputs: Tensor) -> list[Layer]:
    """Every layer that is int8 in ``quantized``, the QDQ form of ``model``, from the worst to the best.

    ``inputs``: (n, ...); a few evenly spread ones are run through both.
    """
    graph = Graph(model)
    twins = _twins(graph, quantized)
    kept = {node.name for node in quantized.graph.node}
    results = {name: _result(graph, graph.nodes[name], kept) for name in quantized_layers(model, quantized)}
    wanted = {*results.values(), *(given for name in results for given in graph.nodes[name].input)}
    twins = {name: twin for name, twin in twins.items() if name in wanted}
    flow = _Flow(model, quantized, twins, inputs[:: max(1, len(inputs) // _SAMPLES)])
    rounded = rounded_weights(quantized)
    found = [_layer(graph, graph.nodes[name], result, flow, rounded) for name, result in results.items()]
    return sorted(found, key=lambda layer: layer.own)


def _twins(graph: Graph, quantized: onnx.ModelProto) -> dict[str, str]:
    """Float tensor -> what stands for it in the QDQ graph, where a scale may have replaced a ReLU."""
    made = {name for node in quantized.graph.node for name in node.output}
    made.update(given.name for given in quantized.graph.input)
    kept = {node.name for node in quantized.graph.node}
    twins = {name: name for name in made}
    for node in graph.model.graph.node:
        if node.name not in kept and node.input[0] in twins:
            twins.setdefault(node.output[0], twins[node.input[0]])
    rounded = {name: f"{twin}_DequantizeLinear_Output" for name, twin in twins.items()}
    return {name: rounded[name] if rounded[name] in made else twin for name, twin in twins.items()}


def _result(graph: Graph, node: NodeProto, kept: Collection[str]) -> str:
    """The output of a layer, after an activation that its scale has taken in."""
    reader = graph.only_reader(node.output[0])
    return str(node.output[0] if reader is None or reader.name in kept else reader.output[0])


class _Flow:
    """Noise and signal of tensors of both models, summed over the samples."""

    def __init__(
        self, model: onnx.ModelProto, quantized: onnx.ModelProto, twins: dict[str, str], inputs: Tensor
    ) -> None:
        floats = _float_tensors(model)
        self._twins = {name: twin for name, twin in twins.items() if name in floats}
        self._signal = dict.fromkeys(self._twins, 0.0)
        self._noise = dict.fromkeys(self._twins, 0.0)
        self.peaks: dict[str, NDArray[Any]] = {}
        self.usual = dict.fromkeys(self._twins, 0.0)
        """What 99.9 % of the magnitudes stay under."""
        names = list(self._twins)
        before = _probe(model, names)
        after = _probe(quantized, [self._twins[name] for name in names])
        feed = model.graph.input[0].name
        for row in inputs:
            pairs = zip(names, before(feed, row), after(feed, row), strict=True)
            for name, wanted, found in pairs:
                self._add(name, wanted.astype(np.float64), found)
        self.usual = {name: value / len(inputs) for name, value in self.usual.items()}

    def noise(self, name: str) -> float:
        """Share of noise in the power of a tensor."""
        return self._noise.get(name, 0.0) / max(self._signal.get(name, 0.0), 1e-30)

    def _add(self, name: str, wanted: NDArray[np.float64], found: NDArray[Any]) -> None:
        self._signal[name] += float((wanted**2).sum())
        self._noise[name] += float(((found - wanted) ** 2).sum())
        magnitude = np.abs(wanted)
        channels = magnitude.reshape(magnitude.shape[1], -1) if magnitude.ndim > 1 else magnitude[:, None]
        self.peaks[name] = np.maximum(self.peaks.get(name, 0.0), channels.max(axis=1))
        self.usual[name] += float(np.quantile(magnitude, 0.999))


def _probe(model: onnx.ModelProto, tensors: list[str]) -> Callable[[str, Tensor], list[Any]]:
    """Run one input and give these tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {output.name for output in model.graph.output}
    for name in sorted(set(tensors) - given):
        copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = to_session(copy)
    return lambda feed, row: list(session.run(tensors, {feed: row[None]}))


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    known = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    return {it.name for it in known if it.type.tensor_type.elem_type == TensorProto.FLOAT}


def _layer(
    graph: Graph, node: NodeProto, result: str, flow: _Flow, rounded: Mapping[str, NDArray[np.float64]]
) -> Layer:
    name = node.input[1] if len(node.input) > 1 else ""
    weights = graph.constant(name) if name in rounded else None
    came_in = max(flow.noise(given) for given in node.input)
    went_out = flow.noise(result)
    return Layer(
        name=node.name,
        what=_what(node, weights),
        weights=None if weights is None else _decibels(_noise(weights, rounded[name])),
        output=_decibels(went_out),
        own=_decibels(went_out - came_in),
        cause=_cause(weights, flow.peaks.get(result), flow.usual.get(result, 0.0)),
    )


def _what(node: NodeProto, weights: NDArray[Any] | None) -> str:
    if weights is None:
        return str(node.op_type)
    size = " x ".join(map(str, weights.shape))
    groups = int(attribute(node, "group", 1))
    return f"{'depthwise ' if groups > 1 and groups == weights.shape[0] else ''}{node.op_type} {size}"


def _noise(weights: NDArray[Any], rounded: NDArray[np.float64]) -> float:
    return float(
        ((rounded - weights) ** 2).sum() / max(float((weights.astype(np.float64) ** 2).sum()), 1e-30)
    )


def _decibels(noise: float) -> float:
    return min(CLEAN, -10 * math.log10(noise)) if noise > 0 else CLEAN


def _cause(weights: NDArray[Any] | None, peaks: NDArray[Any] | None, usual: float) -> str:
    """The first known reason that applies."""
    if weights is not None and (spread := _spread(weights)) > _SPREAD:
        steps = 127 / spread
        return (
            f"its largest weights are {spread:.0f} x the typical ones, which leaves those {steps:.1f} steps"
        )
    if peaks is None or not peaks.any():
        return ""
    if peaks.max() > _PEAKY * usual:
        times = peaks.max() / max(usual, 1e-30)
        return f"rare peaks {times:.0f} x what 99.9 % of its outputs stay under set their scale"
    if (times := float(peaks.max() / np.median(peaks[peaks > 0]))) > _UNEQUAL:
        return f"its largest channel is {times:.0f} x the typical one, and they share a scale"
    return ""


def _spread(weights: NDArray[Any]) -> float:
    """The largest weight of a channel over its typical one, in the median channel; zeros cost nothing."""
    rows = [row[row > 0] for row in np.abs(weights.reshape(len(weights), -1))]
    return float(np.median([row.max() / np.median(row) if row.size else 1.0 for row in rows]))
