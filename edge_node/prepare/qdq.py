"""Read a QDQ graph, and take quantisation out of parts of it."""

from collections.abc import Callable, Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edge_node.prepare.weights import attribute

_SUFFIX = "_quantized"
"""What onnxruntime adds to the name of a constant."""
_CONTRIB = "com.microsoft"
_FUSED = {"Conv": "FusedConv", "Gemm": "FusedGemm"}
_WEIGHTED = frozenset({*_FUSED.values(), "Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU"})


def float_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without Q/DQ pairs between its last layer with weights and its outputs."""
    producers = {name: node for node in model.graph.node for name in node.output}
    pairs: set[str] = set()
    pending = [output.name for output in model.graph.output]
    while pending:
        node = producers.get(pending.pop())
        if node is None or node.op_type in _WEIGHTED:
            continue
        if node.op_type == "DequantizeLinear":
            pairs.add(node.output[0])
        pending.extend(node.input[:1] if node.op_type.endswith("Linear") else node.input)
    return _without(model, lambda dequantized: dequantized.output[0] in pairs)


def float_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the Q/DQ pairs of weights only."""
    return _without(model, lambda _: True)


def hold_float(model: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """The model with these layers under names that onnxruntime leaves alone.

    It would turn a float Conv or Gemm between quantised ones to int8 when it loads the model, with one
    scale for all weights (its WeightBiasQuantization): the layers put back to float would not be.
    """
    for node in model.graph.node:
        if node.name in layers and node.op_type in _FUSED:
            node.op_type, node.domain = _FUSED[node.op_type], _CONTRIB
            if node.op_type == "FusedGemm":  # must fuse something: this changes nothing
                node.attribute.append(helper.make_attribute("activation", "LeakyRelu"))
                node.attribute.append(helper.make_attribute("activation_alpha", 1.0))
    if all(known.domain != _CONTRIB for known in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    return model


def rounded_weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float64]]:
    """The constants as the model computes with them, by the names they have in the float model."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, NDArray[np.float64]] = {}
    for node in model.graph.node:
        name = node.input[0] if node.op_type == "DequantizeLinear" else ""
        if name in constants and name.endswith(_SUFFIX):
            integers, scale, *zero = (
                numpy_helper.to_array(constants[it]).astype(np.float64) for it in node.input
            )
            shape = [1] * integers.ndim
            if scale.size > 1:
                shape[attribute(node, "axis", 1)] = -1
            offset = zero[0].reshape(shape) if zero else 0.0
            found[name.removesuffix(_SUFFIX)] = (integers - offset) * scale.reshape(shape)
    return found


def lean(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what says nothing: zero zero-points of biases, shapes of tensors in between."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        zero = (
            constants.get(node.input[2])
            if node.op_type == "DequantizeLinear" and len(node.input) > 2
            else None
        )
        if zero is not None and zero.data_type == TensorProto.INT32 and not numpy_helper.to_array(zero).any():
            del node.input[2:]
    del model.graph.value_info[:]
    _drop_unused(model)
    return model


def _without(model: onnx.ModelProto, unwanted: Callable[[NodeProto], bool]) -> onnx.ModelProto:
    """Skip the pairs (Q then DQ of an activation) that ``unwanted`` says, given their DQ."""
    producers = {name: node for node in model.graph.node for name in node.output}
    skipped: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or not unwanted(node):
            continue
        quantize = producers.get(node.input[0])
        if quantize is not None and quantize.op_type == "QuantizeLinear":
            skipped[node.output[0]] = quantize.input[0]
    _rewire(model, skipped)
    _drop_unused(model)
    return model


def _rewire(model: onnx.ModelProto, skipped: dict[str, str]) -> None:
    """Read what was skipped at its source; a graph output keeps its name."""
    outputs = {output.name for output in model.graph.output}
    renamed = {skipped[name]: name for name in outputs & skipped.keys()}
    left = [node for node in model.graph.node if node.output[0] not in skipped]
    for node in left:
        for index, name in enumerate(node.input):
            source = skipped.get(name, name)
            node.input[index] = renamed.get(source, source)
        for index, name in enumerate(node.output):
            node.output[index] = renamed.get(name, name)
    del model.graph.node[:]
    model.graph.node.extend(left)


def _drop_unused(model: onnx.ModelProto) -> None:
    """Q nodes and constants that nothing reads any more."""
    used = {name for node in model.graph.node for name in node.input}
    used.update(output.name for output in model.graph.output)
    nodes = [node for node in model.graph.node if used.intersection(node.output)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
