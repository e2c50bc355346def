"""Bias correction: take back the mean error that rounded weights add to each channel.

After Nagel et al. 2019: a layer's output is off by (rounded - weights) x mean input, which its bias can undo.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from edge_node.prepare.channels import Channels
from edge_node.prepare.qdq import rounded_weights
from edge_node.prepare.weights import Graph, attribute
from protos.codec import Tensor

Values = NDArray[np.float64]
_CORRECTED = ("Conv", "Gemm")


_MEANS = 64
"""Samples to take means from: more hardly move them."""


def input_means(model: onnx.ModelProto, inputs: Tensor) -> Channels:
    """Means of what each layer reads, over evenly spread ones of ``inputs`` (n, ...)."""
    rows = np.linspace(0, len(inputs) - 1, min(_MEANS, len(inputs))).astype(int)
    layers = [node for node in model.graph.node if node.op_type in _CORRECTED]
    return Channels(model, [layer.input[0] for layer in layers], inputs[rows])


def correct(model: onnx.ModelProto, quantized: onnx.ModelProto, means: Channels) -> onnx.ModelProto:
    """``model`` with biases that make up for the weights of ``quantized``, its QDQ form."""
    graph = Graph(model)
    rounded = rounded_weights(quantized)
    for layer in graph.model.graph.node:
        if layer.op_type in _CORRECTED and layer.input[1] in rounded:
            weights = np.asarray(graph.constant(layer.input[1]), np.float64)
            bias, mean = _bias(graph, layer, _outputs(layer, weights)), means.mean(layer.input[0])
            if bias is not None and mean is not None:
                graph.set(layer, 2, bias - _shift(layer, rounded[layer.input[1]] - weights, mean))
    return graph.model


def _outputs(layer: NodeProto, weights: Values) -> int:
    """Output channels of a Conv or Gemm."""
    return int(weights.shape[0 if layer.op_type == "Conv" or attribute(layer, "transB", 0) else 1])


def _bias(graph: Graph, layer: NodeProto, size: int) -> Values | None:
    if len(layer.input) < 3:
        return np.zeros(size)
    bias = graph.constant(layer.input[2])
    return None if bias is None else np.broadcast_to(bias.astype(np.float64), (size,))


def _shift(layer: NodeProto, error: Values, means: Values) -> Values:
    """Mean of what the error of the weights adds to each output channel."""
    if layer.op_type == "Gemm":
        return means @ (error.T if attribute(layer, "transB", 0) else error)
    kernels = error.reshape(*error.shape[:2], -1).sum(axis=2)
    groups = int(attribute(layer, "group", 1))
    grouped = kernels.reshape(groups, -1, kernels.shape[1])
    shift: Values = np.einsum("goi,gi->go", grouped, means.reshape(groups, -1)).ravel()
    return shift
