"""Two networks with random weights: what a model computes is of no matter to its speed.

MobileNetV1 x 0.25 (Howard et al. 2017) for 96 x 96 pixels and ten classes, and MobileNetV2 (Sandler et al.
2018) for 224 x 224 and a thousand, as they are after their normalisation has been folded into the weights.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

V1 = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1))
"""Channels and stride of each separable layer."""
V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repetitions and first stride of each stage."""


class Net:
    """A chain of layers from ``x`` to ``logits``; ``at`` is the last tensor so far."""

    def __init__(self, pixels: int) -> None:
        self.at, self.channels = "x", 3
        self._pixels = pixels
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._chance = np.random.default_rng(1)

    def conv(
        self, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        """A convolution, and unless it is linear a ReLU6."""
        weights = self._random(channels, self.channels // groups, kernel, kernel)
        self._then(
            "Conv",
            weights,
            self._constant(np.zeros(channels, np.float32)),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )
        self.channels = channels
        if not linear:
            self._then("Clip", self._constant(np.float32(0)), self._constant(np.float32(6)))

    def depthwise(self, stride: int) -> None:
        """Each channel for itself."""
        self.conv(self.channels, 3, stride, self.channels)

    def add(self, earlier: str) -> None:
        """The residual of a block."""
        self._then("Add", earlier)

    def save(self, path: Path, classes: int, *, pooled: bool = True) -> Path:
        """Classified, as a file."""
        if pooled:
            self._then("GlobalAveragePool")
        self._then("Flatten")
        features = self.channels if pooled else self.channels * self._pixels**2
        self._nodes.append(helper.make_node("MatMul", [self.at, self._random(features, classes)], ["logits"]))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, self._pixels, self._pixels])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(self._nodes, path.stem, [x], [logits], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path

    def _then(self, operator: str, *inputs: str, **attributes: Any) -> None:
        output = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, [self.at, *inputs], [output], **attributes))
        self.at = output

    def _random(self, *shape: int) -> str:
        fan = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        return self._constant((self._chance.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32))

    def _constant(self, array: np.ndarray | np.float32) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def small(path: Path) -> Path:
    """0.9 MB; a sample is 110,592 bytes."""
    net = Net(96)
    net.conv(8, 3, 2)
    for channels, stride in V1:
        net.depthwise(stride)
        net.conv(channels)
    return net.save(path, 10)


def mid(path: Path) -> Path:
    """14 MB; a sample is 602,112 bytes."""
    net = Net(224)
    net.conv(32, 3, 2)
    for expansion, channels, repetitions, first in V2:
        for stride in (first, *[1] * (repetitions - 1)):
            _bottleneck(net, expansion, channels, stride)
    net.conv(1280)
    return net.save(path, 1000)


def wide(path: Path) -> Path:
    """28 MB that are read for each run, however many share it; a sample is 110,592 bytes."""
    net = Net(96)
    return net.save(path, 256, pooled=False)


def _bottleneck(net: Net, expansion: int, channels: int, stride: int) -> None:
    before, width = net.at, net.channels
    if expansion > 1:
        net.conv(width * expansion)
    net.depthwise(stride)
    net.conv(channels, linear=True)
    if stride == 1 and width == channels:
        net.add(before)
