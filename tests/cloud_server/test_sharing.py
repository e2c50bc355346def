"""Which models may have the samples of several callers in one run: it is tried as they load."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from onnx import NodeProto, TensorProto, helper

from cloud_server.inference.loading import load_model
from cloud_server.inference.session import open_session
from tests.cloud_server import graphs
from tests.models import cloud_artifact, linear


def rows(path: Path, *nodes: NodeProto, answer: Sequence[int | str] = ("n", 3)) -> bool:
    """Whether a model ``x`` (n, 3) -> ``y`` is shared."""
    x, y = graphs.tensor("x", TensorProto.FLOAT, ["n", 3]), graphs.tensor("y", TensorProto.FLOAT, answer)
    open_session(graphs.write(path / "model.onnx", nodes, [x], [y]))
    card, _ = load_model(path / "model.onnx")
    return card.batches


node = helper.make_node


def test_samples_that_know_nothing_of_each_other(tmp_path: Path) -> None:
    assert rows(tmp_path, node("Softmax", ["x"], ["y"], axis=1))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Softmax", ["x"], ["y"], axis=0)],
        [node("CumSum", ["x", "axis"], ["y"]), node("Constant", [], ["axis"], value_int=0)][::-1],
        [
            node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        [node("ReduceMean", ["x"], ["mean"], axes=[0]), node("Sub", ["x", "mean"], ["y"])],
    ],
    ids=["normalised over all", "one after another", "quantised by the largest", "less the mean"],
)
def test_samples_that_do(tmp_path: Path, nodes: list[NodeProto]) -> None:
    assert not rows(tmp_path, *nodes)


def test_an_answer_that_is_not_one_a_sample(tmp_path: Path) -> None:
    assert not rows(tmp_path, node("Concat", ["x", "x"], ["y"], axis=0))
    assert not rows(tmp_path, node("ReduceMean", ["x"], ["y"], axes=[0]), answer=(1, 3))


def test_samples_of_bfloat16_that_do(tmp_path: Path) -> None:
    x, y = (graphs.tensor(name, TensorProto.BFLOAT16, ["n", 3]) for name in "xy")
    nodes = [
        node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        node("ReduceMean", ["wide"], ["mean"], axes=[0]),
        node("Sub", ["wide", "mean"], ["less"]),
        node("Cast", ["less"], ["y"], to=TensorProto.BFLOAT16),
    ]
    assert not load_model(graphs.write(tmp_path / "brain.onnx", nodes, [x], [y]))[0].batches


def test_of_each_kind(tmp_path: Path) -> None:
    shared = {
        "artifact": cloud_artifact(tmp_path / "cloud").directory,
        "plain": linear(tmp_path / "plain.onnx"),
        "text": graphs.echo(tmp_path / "text.onnx", TensorProto.STRING),
        "bfloat16": graphs.echo(tmp_path / "brain.onnx", TensorProto.BFLOAT16),
        "two inputs": graphs.arithmetic(tmp_path / "arithmetic.onnx"),
    }
    assert {name: load_model(path)[0].batches for name, path in shared.items()} == dict.fromkeys(shared, True)
    assert not load_model(graphs.counting(tmp_path / "counting.onnx"))[0].batches
