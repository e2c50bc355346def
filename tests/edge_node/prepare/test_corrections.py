"""Equalisation and bias correction: the same function, less noise."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_node.prepare import bias, graph
from edge_node.prepare.equalize import equalize
from edge_node.prepare.measure import logits_of
from edge_node.prepare.weights import Graph
from tests.edge_node.prepare import nets

INPUTS = nets.samples(64).inputs


def clipped(net: nets.Net, bound: float) -> onnx.ModelProto:
    """The net with ReLU6-like activations."""
    model = net.onnx()
    model.graph.initializer.extend([nets.constant("zero", 0.0), nets.constant("bound", bound)])
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Clip"
            node.input.extend(["zero", "bound"])
    return model


def test_equalised_channels_have_like_ranges_and_the_same_function() -> None:
    model = graph.fold(nets.unequal(nets.depthwise()).onnx())
    equal = equalize(model, INPUTS)
    assert equal is not None
    assert np.allclose(logits_of(equal, INPUTS), logits_of(model, INPUTS), atol=1e-2)
    before, after = (
        np.abs(np.asarray(Graph(one).constant("w2"))).max(axis=(0, 2, 3)) for one in (model, equal)
    )
    assert before.max() / before.min() > 300
    assert after.max() / after.min() < 20


def test_a_bounded_activation_is_equalised_as_far_as_no_channel_reaches_its_bound() -> None:
    model = graph.fold(clipped(nets.depthwise(), 2.0))
    equal = equalize(model, INPUTS)
    assert equal is not None
    assert np.allclose(logits_of(equal, INPUTS), logits_of(model, INPUTS), atol=1e-3)


def test_layers_that_do_not_follow_each_other_are_not_equalised() -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], "only")]
    assert (
        equalize(nets.model(nodes, [nets.constant("w", np.eye(3))], [3], 3), np.ones((2, 3), np.float32))
        is None
    )


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_bias_takes_back_the_mean_of_what_rounding_adds(transposed: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 3))
    inputs = rng.uniform(1, 2, (40, 5)).astype(np.float32)
    stored = weights.T if transposed else weights
    node = helper.make_node("Gemm", ["x", "w"], ["logits"], "only", transB=transposed)
    model = nets.model([node], [nets.constant("w", stored)], [5], 3)
    corrected = bias.correct(model, _coarse(model, stored), bias.input_means(model, inputs))
    rounded = np.round(stored * 2) / 2
    error = inputs @ (rounded.T if transposed else rounded) - inputs @ weights
    shift = logits_of(corrected, inputs) - logits_of(model, inputs)
    assert np.allclose(shift.mean(axis=0), -error.mean(axis=0), atol=1e-5)


def test_a_depthwise_convolution_is_corrected_too() -> None:
    net = graph.fold(nets.depthwise().onnx())
    shifted = bias.correct(net, _coarse(net, Graph(net).constant("w1"), "w1"), bias.input_means(net, INPUTS))
    before, after = (np.asarray(Graph(one).constant("b1")) for one in (net, shifted))
    assert not np.allclose(before, after)
    assert np.array_equal(np.asarray(Graph(net).constant("b0")), np.asarray(Graph(shifted).constant("b0")))


def _coarse(model: onnx.ModelProto, weights: object, name: str = "w") -> onnx.ModelProto:
    """The QDQ form of a model whose weights are rounded to halves."""
    coarse = onnx.ModelProto()
    coarse.CopyFrom(model)
    integers = np.round(np.asarray(weights) * 2).astype(np.int8)
    coarse.graph.initializer.extend(
        [onnx.numpy_helper.from_array(integers, f"{name}_quantized"), nets.constant(f"{name}_scale", 0.5)]
    )
    coarse.graph.node.insert(
        0, helper.make_node("DequantizeLinear", [f"{name}_quantized", f"{name}_scale"], [f"{name}_rounded"])
    )
    return coarse
