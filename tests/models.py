"""Small ONNX models whose answers can be told by looking."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edge_node.prepare.pack import Facts, pack
from protos.artifact import Artifact, CloudModel, Gate

LABELS = ("red", "green", "blue")


def linear(path: Path, scale: float = 1.0, classes: int = 3, dtype: int = TensorProto.FLOAT) -> Path:
    """``x`` (batch, classes) -> ``logits`` = scale * x: the largest number wins."""
    weights = numpy_helper.from_array(scale * np.eye(classes, dtype=np.float32), "weights")
    nodes = [helper.make_node("MatMul", ["as_float", "weights"], ["logits"])]
    nodes.insert(0, helper.make_node("Cast", ["x"], ["as_float"], to=TensorProto.FLOAT))
    x = helper.make_tensor_value_info("x", dtype, ["batch", classes])
    return save(path, nodes, [weights], x, classes)


def logarithm(path: Path) -> Path:
    """``x`` (batch, 3) -> ``logits`` = log x: NaN where x is negative."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    return save(path, [helper.make_node("Log", ["x"], ["logits"])], [], x, 3)


def particular(path: Path) -> Path:
    """``linear``, but it says that any number of numbers will do, which is not so."""
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32), "weights")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "any"])
    return save(path, [helper.make_node("MatMul", ["x", "weights"], ["logits"])], [weights], x, 3)


def save(
    path: Path, nodes: Sequence[NodeProto], weights: Sequence[TensorProto], x: ValueInfoProto, classes: int
) -> Path:
    """Write a model of the one input given and one output ``logits`` (batch, classes) float32."""
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(nodes, "test", [x], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def samples(count: int = 20) -> np.ndarray:
    """(count, 3) float32: rows that in turn favour each class clearly."""
    rows = np.zeros((count, 3), np.float32)
    rows[np.arange(count), np.arange(count) % 3] = 5
    return rows


def edge_artifact(
    directory: Path, cloud: Artifact | None = None, threshold: float = 0.8, model: Path | None = None
) -> Artifact:
    """``linear``, or another model of three numbers, as an edge artifact, meant for ``cloud`` if given."""
    facts = Facts(
        name="edge",
        precision="fp32",
        labels=LABELS,
        gate=Gate(threshold=threshold),
        cloud=CloudModel(name=cloud.manifest.name, sha256=cloud.sha256) if cloud else None,
    )
    return pack(directory, model or linear(directory.parent / "edge.onnx"), facts, samples() + 1)


def cloud_artifact(directory: Path, scale: float = 10.0) -> Artifact:
    """The same, surer of itself, as a cloud artifact named ``cloud``."""
    model = linear(directory.parent / "cloud.onnx", scale)
    return pack(directory, model, Facts(name="cloud", precision="fp32", labels=LABELS), samples())
