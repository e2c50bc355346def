"""Models for the server's tests, beside those in ``tests/models.py``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edge_node.prepare.pack import Facts, pack
from protos.artifact import Artifact, ImageInput
from tests.models import LABELS, save

Shape = Sequence[int | str]
SIZE = 8
"""Side of the images that ``colour`` takes."""


def tensor(name: str, datatype: int, shape: Shape) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, datatype, shape)


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto] = (),
) -> Path:
    graph = helper.make_graph(nodes, "test", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def echo(path: Path, datatype: int) -> Path:
    """``x`` (n,) -> ``y``, the same."""
    ends = [tensor(name, datatype, ["n"]) for name in ("x", "y")]
    return write(path, [helper.make_node("Identity", ["x"], ["y"])], ends[:1], ends[1:])


def arithmetic(path: Path) -> Path:
    """``a`` (n,), ``b`` (m,) float32 -> ``sum``, ``difference``; it runs only where n = m."""
    inputs = [tensor("a", TensorProto.FLOAT, ["n"]), tensor("b", TensorProto.FLOAT, ["m"])]
    outputs = [tensor(name, TensorProto.FLOAT, ["k"]) for name in ("sum", "difference")]
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
    ]
    return write(path, nodes, inputs, outputs)


def counting(path: Path) -> Path:
    """``n`` (1,) int64 -> ``y`` = n, counted up one by one: about a microsecond each."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["y", "one"], ["more"])],
        "body",
        [tensor("i", TensorProto.INT64, []), tensor("go", TensorProto.BOOL, []), tensor("y", 1, [1])],
        [tensor("on", TensorProto.BOOL, []), tensor("more", 1, [1])],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    nodes = [
        helper.make_node("Squeeze", ["n"], ["trips"]),
        helper.make_node("Loop", ["trips", "", "zero"], ["y"], body=body),
    ]
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    return write(path, nodes, [tensor("n", TensorProto.INT64, [1])], [tensor("y", 1, [1])], [zero])


def sequence(path: Path) -> Path:
    """A model whose output is no tensor."""
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    return write(path, [node], [tensor("x", TensorProto.FLOAT, [1])], [output])


def colour(directory: Path) -> Artifact:
    """An artifact that takes images: logits are the mean of red, green and blue."""
    nodes = [
        helper.make_node("Cast", ["x"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["as_float"], ["logits"], axes=[1, 2], keepdims=0),
    ]
    x = tensor("x", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
    model = save(directory.parent / "colour.onnx", nodes, [], x, len(LABELS))
    facts = Facts(name="colour", precision="fp32", labels=LABELS, preprocessing=ImageInput(size=SIZE))
    return pack(directory, model, facts, np.stack([plain(index) for index in range(3)]))


def plain(channel: int) -> np.ndarray:
    """An image of one colour: 200 in the channel, 0 in the others."""
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[..., channel] = 200
    return pixels
