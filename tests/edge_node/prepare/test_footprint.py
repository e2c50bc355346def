"""``edge-node prepare footprint``: held to counts by hand, and to the field's own of ResNet-50."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_node.prepare.errors import GraphError
from edge_node.prepare.footprint import footprint, live_bytes
from tests.edge_node.prepare import nets
from tests.nodes import finished

SIDE = 224


class Network:
    """Layers of a graph, one after another."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[TensorProto] = []

    def node(self, operator: str, given: list[str], shapes: list[list[int]], **attributes: Any) -> str:
        """Add one with zero constants of these shapes; the name of what it gives."""
        name = f"{operator}{len(self.nodes)}"
        held = [f"{name}.{at}" for at in range(len(shapes))]
        self.constants += [
            nets.constant(one, np.zeros(shape)) for one, shape in zip(held, shapes, strict=True)
        ]
        self.nodes.append(helper.make_node(operator, [*given, *held], [name], name, **attributes))
        return name

    def convolution(self, given: str, shape: list[int], stride: int = 1) -> str:
        """With its batch norm."""
        pads = [shape[2] // 2] * 4
        convolved = self.node("Conv", [given], [shape], pads=pads, strides=[stride] * 2)
        return self.node("BatchNormalization", [convolved], [shape[:1]] * 4)

    def block(self, given: str, channels: tuple[int, int], stride: int, *, first: bool) -> str:
        """A bottleneck of the paper: the stride is in its first convolution."""
        came, width = channels
        short = self.convolution(given, [4 * width, came, 1, 1], stride) if first else given
        found = self.node("Relu", [self.convolution(given, [width, came, 1, 1], stride)], [])
        found = self.node("Relu", [self.convolution(found, [width, width, 3, 3])], [])
        found = self.convolution(found, [4 * width, width, 1, 1])
        return self.node("Relu", [self.node("Add", [found, short], [])], [])


def resnet50() -> onnx.ModelProto:
    """He et al., 2016."""
    net = Network()
    found = net.node("Relu", [net.convolution("x", [64, 3, 7, 7], 2)], [])
    found = net.node("MaxPool", [found], [], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    came = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for number in range(blocks):
            stride = 2 if stage and not number else 1
            found = net.block(found, (came, width), stride, first=not number)
            came = 4 * width
    found = net.node("Flatten", [net.node("GlobalAveragePool", [found], [])], [])
    net.node("Gemm", [found], [[2048, 1000], [1000]])
    return nets.model(net.nodes, net.constants, [3, SIDE, SIDE], 1000)


def test_resnet50_has_the_parameters_and_the_168_megabytes_of_the_field() -> None:
    found = footprint(resnet50())
    assert found.parameters == 25_557_032
    convolutions_and_sums = 10_587_136 + 5_519_360
    pools_and_logits = 64 * 56 * 56 + 2048 + 1000
    assert found.activations == convolutions_and_sums + pools_and_logits
    parameters, activations = round(found.parameters, -6), round(found.activations, -6)
    assert 4 * (parameters + activations) == 168_000_000
    assert round(found.macs, -7) == 3_860_000_000


def small() -> onnx.ModelProto:
    """3 x 10 x 10 -> Conv -> 8 x 10 x 10 -> ReLU -> mean -> 8 -> 4 logits."""
    net = Network()
    found = net.node("Conv", ["x"], [[8, 3, 3, 3], [8]], pads=[1, 1, 1, 1])
    found = net.node("Relu", [found], [])
    found = net.node("Flatten", [net.node("GlobalAveragePool", [found], [])], [])
    net.node("Gemm", [found], [[8, 4], [4]])
    return nets.model(net.nodes, net.constants, [3, 10, 10], 4)


def test_a_small_net_counts_as_by_hand() -> None:
    found = footprint(small())
    assert [(it.operator, it.parameters, it.activations, it.macs) for it in found.layers] == [
        ("Conv", 8 * 27 + 8, 800, 800 * 27),
        ("GlobalAveragePool", 0, 8, 0),
        ("Gemm", 36, 4, 32),
    ]
    assert found.live == 300 + 800  # the convolution reads its input while it writes


def test_a_batch_multiplies_activations_but_no_parameters() -> None:
    one, four = footprint(small()), footprint(small(), batch=4)
    assert four.parameters == one.parameters
    assert (four.activations, four.live, four.macs) == (4 * one.activations, 4 * one.live, 4 * one.macs)


def test_what_is_read_again_stays_alive() -> None:
    net = Network()
    kept = net.node("Conv", ["x"], [[8, 3, 1, 1]])
    there = net.node("Conv", [kept], [[8, 8, 1, 1]])
    back = net.node("Conv", [there], [[8, 8, 1, 1]])
    added = net.node("Add", [back, kept], [])
    net.node("Gemm", [net.node("Flatten", [added], [])], [[800, 4]])
    assert footprint(nets.model(net.nodes, net.constants, [3, 10, 10], 4)).live == 3 * 800


def test_live_bytes_of_a_rounded_tensor_are_those_of_its_rounded_form() -> None:
    net = Network()
    net.constants += [nets.constant("scale", 0.1), helper.make_tensor("zero", TensorProto.UINT8, [], [0])]
    convolved = net.node("Conv", ["x"], [[8, 3, 1, 1]])
    rounded = net.node("QuantizeLinear", [convolved, "scale", "zero"], [])
    back = net.node("DequantizeLinear", [rounded, "scale", "zero"], [])
    net.node("Gemm", [net.node("Flatten", [back], [])], [[800, 4]])
    assert live_bytes(nets.model(net.nodes, net.constants, [3, 10, 10], 4)) == 4 * 300 + 800
    assert live_bytes(small()) == 4 * (300 + 800)


def test_a_shape_that_the_data_decide_is_said() -> None:
    net = Network()
    found = net.node("NonZero", ["x"], [])
    net.node("Cast", [found], [], to=TensorProto.FLOAT)
    with pytest.raises(GraphError, match="shape of 'Cast1' cannot be known"):
        footprint(nets.model(net.nodes, net.constants, [3], 2))


def test_the_command_prints_a_table_or_json(workplace: Path) -> None:
    onnx.save(small(), workplace / "net.onnx")
    shown = finished("prepare", "footprint", "net.onnx")
    assert shown.code == 0
    lines = shown.stdout.splitlines()
    assert [" ".join(lines[at].split()) for at in (1, -2, -1)] == [
        "Conv0 Conv 224 800 21,600 4.1 kB 2.05 kB 1.02 kB",
        "all, activations kept 260 812 21,632 4.29 kB 2.14 kB 1.07 kB",
        "at inference 260 1,100 5.44 kB 2.72 kB 1.36 kB",
    ]
    told = json.loads(finished("prepare", "footprint", "net.onnx", "--batch", "2", "--json").stdout)
    assert told["bytes"]["int8"] == {"training": 260 + 2 * 812, "inference": 260 + 2 * 1100}


def test_a_size_that_is_computed_but_constant_is_found_by_folding(workplace: Path) -> None:
    net = Network()
    net.constants.append(helper.make_tensor("swapped", TensorProto.INT64, [2, 4], [0, 0, 0, 0, 4, 0, 0, 0]))
    net.constants.append(helper.make_tensor("flat", TensorProto.INT64, [1], [-1]))
    pads = net.node("Slice", ["swapped", "start", "end", "first", "back"], [])
    for name, value in {"start": -1, "end": -9, "first": 1, "back": -1}.items():
        net.constants.append(helper.make_tensor(name, TensorProto.INT64, [1], [value]))
    pads = net.node("Reshape", [pads, "flat"], [])
    padded = net.node("Pad", ["x", pads], [])
    net.node("Gemm", [net.node("Flatten", [padded], [])], [[3 * 10 * 14, 4]])
    model = nets.model(net.nodes, net.constants, [3, 10, 10], 4)
    with pytest.raises(GraphError, match="shape of 'Pad"):
        footprint(model)
    onnx.save(model, workplace / "net.onnx")
    told = json.loads(finished("prepare", "footprint", "net.onnx", "--json").stdout)
    assert told["activations"] == 3 * 10 * 14 + 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.onnx",), "missing.onnx cannot be read: no such file or directory"),
        (("net.onnx", "--batch", "0"), "--batch 0: at least one sample"),
        (("text.onnx",), "text.onnx is no sound ONNX model"),
    ],
)
def test_bad_input_is_one_line(workplace: Path, arguments: tuple[str, ...], said: str) -> None:
    onnx.save(small(), workplace / "net.onnx")
    (workplace / "text.onnx").write_text("no model")
    ended = finished("prepare", "footprint", *arguments)
    assert ended.code == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
