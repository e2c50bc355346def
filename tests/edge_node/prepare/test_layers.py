"""The report that names the layer that hurts, and why."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_node.prepare import graph
from edge_node.prepare.layers import CLEAN, Layer, layers_of
from edge_node.prepare.targets import TARGETS
from edge_node.prepare.variants import Static
from tests.edge_node.prepare import nets

INPUTS = nets.samples(200).inputs


def layers(model: onnx.ModelProto, folder: Path, inputs: nets.Array = INPUTS) -> dict[str, Layer]:
    """By name, the worst first."""
    folded = graph.fold(model)
    static = Static(folder, folded, TARGETS["x86-vnni"], inputs[:64])
    return {layer.name: layer for layer in layers_of(folded, static.quantize("minmax"), inputs)}


def test_a_healthy_net_has_clean_layers(tmp_path: Path) -> None:
    found = layers(nets.depthwise().onnx(), tmp_path)
    assert {"conv0", "conv1", "conv2", "conv3", "conv4", "linear"} <= set(found)
    for layer in found.values():
        assert 25 < layer.output <= layer.own <= CLEAN
        assert layer.cause == ""


def test_outlying_weights_are_named(tmp_path: Path) -> None:
    found = layers(nets.spoiled(nets.depthwise(), 2).onnx(), tmp_path)
    worst = found["conv2"]
    assert next(iter(found)) in ("conv2", "linear")
    assert worst.own < 5
    assert worst.cause.startswith("its largest weights are ")


def test_unequal_channels_are_named(tmp_path: Path) -> None:
    found = layers(nets.unequal(nets.depthwise()).onnx(), tmp_path)
    assert any("x the typical one, and they share a scale" in layer.cause for layer in found.values())


def test_rare_peaks_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 2, 40, 40)).astype(np.float32)
    inputs[:, 0, 0, 0] = 500
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["logits"], "flatten"),
    ]
    model = nets.model(nodes, [nets.constant("w", rng.normal(size=(3, 2, 1, 1)))], [2, 40, 40], 3)
    assert layers(model, tmp_path, inputs)["conv"].cause.startswith("rare peaks ")


def test_a_clipped_activation_counts_as_the_layers_own_output(tmp_path: Path) -> None:
    """Its scale clips in the QDQ graph, which against the raw convolution would look like noise."""
    model = nets.depthwise().onnx()
    model.graph.initializer.extend([nets.constant("zero", 0.0), nets.constant("six", 0.5)])
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Clip"
            node.input.extend(["zero", "six"])
    assert all(layer.output > 20 for layer in layers(model, tmp_path).values())


def test_a_layer_in_words() -> None:
    layer = Layer("stem", "Conv 8 x 3 x 3 x 3", 40.0, 9.0, 12.4, "rare peaks 90 x ...")
    assert (
        str(layer)
        == "layer stem (Conv 8 x 3 x 3 x 3): its signal is 12 dB above the noise it adds; rare peaks 90 x ..."
    )
    assert str(Layer("stem", "Conv", None, 9.0, 12.4, "")).endswith("it adds")


@pytest.mark.parametrize("name", ["x86-avx2", "arm64"])
def test_other_targets_have_layers_too(tmp_path: Path, name: str) -> None:
    folded = graph.fold(nets.depthwise().onnx())
    static = Static(tmp_path, folded, TARGETS[name], INPUTS[:64])  # type: ignore[index] # one of its names
    assert layers_of(folded, static.quantize("minmax"), INPUTS)
