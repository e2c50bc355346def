"""Cross-layer equalisation: give the channels between two layers like ranges, so that one scale fits all.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019),
with measured ranges of the activations in place of the first layer's weights, since weights are
quantised by channel here. A layer's output channel is divided by a factor and the next layer's
weights for it multiplied: a ReLU lets that pass, a ReLU6 as far as no channel comes to reach its bound.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from edge_node.prepare.channels import Channels
from edge_node.prepare.weights import Graph, attribute
from protos.codec import Tensor

_LARGEST = 2.0**16
"""Factors beyond this belong to dead channels."""
Factors = NDArray[np.float64]


@dataclass(frozen=True)
class _Chain:
    """Two convolutions with nothing between them but an activation that scales along."""

    first: NodeProto
    second: NodeProto
    bound: float
    """Where the activation clips."""

    @property
    def between(self) -> str:
        """The tensor whose channels are equalised."""
        return self.second.input[0]


def equalize(model: onnx.ModelProto, inputs: Tensor) -> onnx.ModelProto | None:
    """The same function with equalised channels; none if no two layers follow each other directly.

    ``inputs``: (n, ...) to take ranges from.
    """
    graph = Graph(model)
    chains = [chain for node in graph.model.graph.node if (chain := _chain(graph, node))]
    if not chains:
        return None
    channels = Channels(model, [chain.between for chain in chains], inputs)
    for chain in chains:
        peaks = channels.peak(chain.between)
        if peaks is not None:
            _rescale(graph, chain, _factors(graph, chain, peaks))
    return graph.model


def _chain(graph: Graph, first: NodeProto) -> _Chain | None:
    if not _is_layer(graph, first):
        return None
    bound = np.inf
    second = graph.only_reader(first.output[0])
    if second is not None and second.op_type in ("Relu", "Clip"):
        limit = _clips_at(graph, second)
        if limit is None:
            return None
        bound, second = limit, graph.only_reader(second.output[0])
    fits = second is not None and _is_layer(graph, second) and _group(second) in (1, _inputs(graph, second))
    return _Chain(first, second, bound) if second is not None and fits else None


def _is_layer(graph: Graph, node: NodeProto) -> bool:
    return node.op_type == "Conv" and graph.constant(node.input[1]) is not None


def _clips_at(graph: Graph, node: NodeProto) -> float | None:
    """The upper bound of an activation that is zero below zero; none for another one."""
    if node.op_type == "Relu":
        return float("inf")
    low, high = (graph.constant(node.input[at]) if len(node.input) > at else None for at in (1, 2))
    return None if low is None or high is None or float(low) != 0 else float(high)


def _group(node: NodeProto) -> int:
    return int(attribute(node, "group", 1))


def _inputs(graph: Graph, node: NodeProto) -> int:
    weights = graph.constant(node.input[1])
    return 0 if weights is None else weights.shape[1] * _group(node)


def _factors(graph: Graph, chain: _Chain, peaks: Factors) -> Factors:
    """What each channel is to be divided by: 1 where it is dead or reaches the bound."""
    needs = _needs(graph, chain.second)
    alive = (peaks > 0) & (needs > 0) & (peaks < chain.bound * (1 - 1e-6))
    factors = np.ones_like(peaks)
    if not alive.any():
        return factors
    factors[alive] = np.sqrt(peaks[alive] / needs[alive]) if _group(chain.second) == 1 else peaks[alive]
    level = (peaks / factors)[alive].max()
    wanted = chain.bound if np.isfinite(chain.bound) else peaks.max()
    factors[alive] *= level / wanted
    return np.clip(factors, 1 / _LARGEST, _LARGEST)


def _needs(graph: Graph, second: NodeProto) -> Factors:
    """Largest weight of each input channel, as a share of the largest of its output channel."""
    weights = np.abs(np.asarray(graph.constant(second.input[1]), np.float64))
    flat = weights.reshape(*weights.shape[:2], -1).max(axis=2)
    shares = flat / np.maximum(flat.max(axis=1, keepdims=True), 1e-30)
    needs: Factors = shares.max(axis=0) if _group(second) == 1 else shares[:, 0]
    return needs


def _rescale(graph: Graph, chain: _Chain, factors: Factors) -> None:
    _multiply(graph, chain.first, 1, 1 / factors, axis=0)
    if len(chain.first.input) > 2:
        _multiply(graph, chain.first, 2, 1 / factors, axis=0)
    _multiply(graph, chain.second, 1, factors, axis=1 if _group(chain.second) == 1 else 0)


def _multiply(graph: Graph, node: NodeProto, index: int, factors: Factors, axis: int) -> None:
    values = np.asarray(graph.constant(node.input[index]))
    shape = [1] * values.ndim
    shape[axis] = -1
    graph.set(node, index, values * factors.reshape(shape))
