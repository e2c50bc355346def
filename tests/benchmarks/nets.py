"""Two networks of a known cost, with random weights: what serves them is measured, not what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

CLASSES = 10
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Width and stride of each block of MobileNetV1."""
_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, width, repeats and stride of each group of MobileNetV2."""


def tiny(path: Path) -> Path:
    """MobileNetV1, a quarter as wide, of 96 pixels: about 0.2 ms, for 110,592 bytes."""
    net = _Net()
    x = net.clipped("x", 3, 8, 3, 2)
    width = 8
    for wide, stride in _V1:
        x = net.clipped(x, width, width, 3, stride)
        x, width = net.clipped(x, width, wide // 4), wide // 4
    return net.save(path, x, width, 96)


def mid(path: Path) -> Path:
    """MobileNetV2 of 224 pixels: about 5.5 ms, for 602,112 bytes."""
    net = _Net()
    x, width = net.clipped("x", 3, 32, 3, 2), 32
    for expansion, wide, repeats, first in _V2:
        for stride in (first, *[1] * (repeats - 1)):
            inner = net.clipped(x, width, width * expansion) if expansion > 1 else x
            inner = net.clipped(inner, width * expansion, width * expansion, 3, stride)
            inner = net.conv(inner, width * expansion, wide)
            x = net.add("Add", [x, inner]) if stride == 1 and width == wide else inner
            width = wide
    return net.save(path, net.clipped(x, width, 1280), 1280, 224)


class _Net:
    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._random = np.random.default_rng(0)
        self._zero, self._six = self._keep(np.array(0, np.float32)), self._keep(np.array(6, np.float32))

    def conv(self, x: str, width: int, wide: int, kernel: int = 1, stride: int = 1) -> str:
        """Depthwise if it is as wide as before, and looks around."""
        depthwise = kernel > 1 and width == wide
        shape = wide, 1 if depthwise else width, kernel, kernel
        weights = self._random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        given = [x, self._keep(weights.astype(np.float32)), self._keep(np.zeros(wide, np.float32))]
        return self.add(
            "Conv", given, group=width if depthwise else 1, strides=[stride] * 2, pads=[kernel // 2] * 4
        )

    def clipped(self, *convolution: Any) -> str:
        """``conv``, and ReLU6."""
        return self.add("Clip", [self.conv(*convolution), self._zero, self._six])

    def add(self, kind: str, given: list[str], **attributes: Any) -> str:
        name = f"y{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, given, [name], **attributes))
        return name

    def save(self, path: Path, x: str, width: int, size: int) -> Path:
        weights = self._random.normal(0, 0.1, (width, CLASSES)).astype(np.float32)
        pooled = self.add("Flatten", [self.add("GlobalAveragePool", [x])])
        given = [pooled, self._keep(weights), self._keep(np.zeros(CLASSES, np.float32))]
        self._nodes.append(helper.make_node("Gemm", given, ["logits"]))
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])]
        graph = helper.make_graph(self._nodes, path.stem, inputs, outputs, self._constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    def _keep(self, array: np.ndarray) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name
