"""A depthwise net that knows its task, built without a training framework: random features, fitted logits."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_node.prepare.data import Samples
from edge_node.prepare.graph import to_session

CLASSES = 6
SIDE = 10
_HALVING = (0, 3)
_FEATURES = 576
Array = NDArray[Any]


def samples(count: int = 600, seed: int = 1) -> Samples:
    """Noisy versions of one pattern a class: (count, 3, SIDE, SIDE) float32, with labels."""
    patterns = np.random.default_rng(0).normal(size=(CLASSES, 3, SIDE, SIDE))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    inputs = patterns[labels] + rng.normal(scale=0.8, size=(count, 3, SIDE, SIDE))
    return Samples(inputs.astype(np.float32), labels)


@dataclass
class Net:
    """Convolutions (weights, bias, group), each with a ReLU, then a linear layer; change them freely."""

    convolutions: list[tuple[Array, Array, int]]
    fitted: tuple[Array, Array] | None = field(default=None)

    def onnx(self, *, features: bool = False) -> onnx.ModelProto:
        """The model as it is now; ``features``: without the linear layer."""
        nodes, constants, name = [], [], "x"
        for number, (weights, bias, group) in enumerate(self.convolutions):
            constants += [constant(f"w{number}", weights), constant(f"b{number}", bias)]
            given = [name, f"w{number}", f"b{number}"]
            pads = [weights.shape[2] // 2] * 4
            nodes.append(
                helper.make_node(
                    "Conv",
                    given,
                    [f"c{number}"],
                    f"conv{number}",
                    group=group,
                    pads=pads,
                    strides=[1 + (number in _HALVING)] * 2,
                )
            )
            nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu{number}"))
            name = f"r{number}"
        nodes.append(helper.make_node("Flatten", [name], ["features"], "flatten"))
        if not features and self.fitted:
            constants += [constant("wl", self.fitted[0]), constant("bl", self.fitted[1])]
            nodes.append(helper.make_node("Gemm", ["features", "wl", "bl"], ["logits"], "linear"))
        return model(nodes, constants, [3, SIDE, SIDE], _FEATURES if features else CLASSES)

    def fit(self) -> "Net":
        """Solve for the linear layer."""
        data = samples(seed=2)
        found = _run(self.onnx(features=True), data.inputs)
        mean, scale = found.mean(0), found.std()
        design = np.hstack([(found - mean) / scale, np.ones((len(found), 1))])
        wanted = 8.0 * (np.eye(CLASSES)[np.asarray(data.labels)] - 1 / CLASSES)
        solved = np.linalg.solve(design.T @ design + 30 * np.eye(design.shape[1]), design.T @ wanted)
        weights = solved[:-1] / scale
        self.fitted = (weights, solved[-1] - mean @ weights)
        return self


def depthwise() -> Net:
    """3 -> 16, then twice depthwise and pointwise."""
    rng = np.random.default_rng(3)
    shapes = [
        ((24, 3, 5, 5), 1),
        ((24, 1, 3, 3), 24),
        ((48, 24, 1, 1), 1),
        ((48, 1, 3, 3), 48),
        ((64, 48, 1, 1), 1),
    ]
    return Net(
        [
            (
                rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) / 2),
                rng.normal(scale=0.1, size=shape[0]),
                group,
            )
            for shape, group in shapes
        ]
    ).fit()


def unequal(net: Net) -> Net:
    """The same function with channels whose ranges differ a thousandfold: no one scale fits."""
    rng = np.random.default_rng(4)
    for first in range(len(net.convolutions) - 1):
        (weights, bias, group), (after, after_bias, after_group) = net.convolutions[first : first + 2]
        factors = 2.0 ** rng.uniform(-5, 5, len(weights))
        along = (-1, 1, 1, 1) if after_group > 1 else (1, -1, 1, 1)
        net.convolutions[first] = (weights * factors.reshape(-1, 1, 1, 1), bias * factors, group)
        net.convolutions[first + 1] = (after / factors.reshape(along), after_bias, after_group)
    return net


def spoiled(net: Net, number: int) -> Net:
    """The same function, but convolution ``number`` has huge weights on a channel that is zero."""
    bias = net.convolutions[number - 1][1]
    bias[0] = -50
    weights = net.convolutions[number][0]
    weights[:, 0] = 0
    net.fitted = None
    net.fit()
    weights[:, 0] = 300
    return net


def constant(name: str, value: ArrayLike) -> TensorProto:
    """float32."""
    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def model(nodes: list[Any], constants: list[TensorProto], shape: list[int], classes: int) -> onnx.ModelProto:
    """Of one input ``x`` (batch, *shape); the output of the last node is (batch, classes)."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
    result = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(nodes, "net", [x], [result], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(net: onnx.ModelProto, inputs: Array) -> Array:
    return np.asarray(to_session(net).run(None, {"x": inputs})[0], np.float64)
