"""Loading and folding: what cannot be quantised is one line, what can keeps its function."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_node.prepare import graph
from edge_node.prepare.errors import GraphError, PrepareError
from edge_node.prepare.measure import logits_of
from tests.edge_node.prepare import nets


def one_node(
    node: onnx.NodeProto,
    shape: Sequence[int | str] = ("batch", 3),
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", dtype, list(shape))
    y = helper.make_tensor_value_info("y", dtype, None)
    made = helper.make_graph([node], "g", [x], [y], [])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def relu(**options: object) -> onnx.ModelProto:
    return one_node(helper.make_node("Relu", ["x"], ["y"], "relu"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"not an onnx file at all", b"\x08\x08\x12"])
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(GraphError, match=r"broken.onnx is no sound ONNX model: ") as refused:
        graph.load(tmp_path / "broken.onnx")
    assert "\n" not in str(refused.value)


def test_a_model_cut_short_is_one_line(tmp_path: Path) -> None:
    whole = nets.depthwise().onnx().SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphError, match=r"cut.onnx is no sound ONNX model"):
        graph.load(tmp_path / "cut.onnx")


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"absent.onnx cannot be read: no such file or directory"):
        graph.load(tmp_path / "absent.onnx")


def test_weights_that_lie_in_another_file_are_read_or_missed(tmp_path: Path) -> None:
    model = nets.depthwise().onnx()
    wanted = logits_of(model, nets.samples(5).inputs)
    onnx.save(
        model, tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert np.array_equal(logits_of(graph.load(tmp_path / "net.onnx"), nets.samples(5).inputs), wanted)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(GraphError, match=r"net.onnx"):
        graph.load(tmp_path / "net.onnx")


def test_an_old_opset_is_converted() -> None:
    converted = graph.check(relu(opset=9))
    assert next(it.version for it in converted.opset_import) >= graph.OPSET


def test_an_opset_that_cannot_be_converted_says_so() -> None:
    model = one_node(helper.make_node("Pad", ["x"], ["y"], "pad", paddings=[0] * 4), opset=1)
    with pytest.raises(
        GraphError, match=r"has opset 1, too old to convert .No Adapter .* export it with opset 17"
    ):
        graph.check(model)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (
            relu(shape=["batch", 3, "height", "width"]),
            "input 'x' leaves height, width open, only the batch may be",
        ),
        (relu(dtype=TensorProto.FLOAT16), "is in 16-bit floats: give the fp32 model"),
        (one_node(helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])), "is quantised already"),
    ],
)
def test_what_cannot_be_quantised_says_why(model: onnx.ModelProto, problem: str) -> None:
    with pytest.raises(GraphError, match=problem) as refused:
        graph.check(model)
    assert "\n" not in str(refused.value)


def test_the_command_that_fixes_a_shape_is_named() -> None:
    with pytest.raises(GraphError, match=r"make_dynamic_shape_fixed --input_name x --input_shape 1,3,N,N$"):
        graph.check(relu(shape=["batch", 3, "height", "width"]))


@pytest.mark.parametrize("domain", ["", "com.example"])
def test_an_operator_that_onnxruntime_does_not_know_is_named(domain: str) -> None:
    model = one_node(helper.make_node("Frobnicate", ["x"], ["y"], "odd", domain=domain))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(GraphError, match=r"cannot be run by onnxruntime: .*Frobnicate") as refused:
        graph.fold(model)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("outputs", [["y", "z"]])
def test_a_model_of_two_outputs_is_refused(outputs: list[str]) -> None:
    split = helper.make_node("Split", ["x"], outputs, "split", axis=1)
    model = one_node(split, ("batch", 4))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    with pytest.raises(PrepareError, match=r"2 outputs"):
        graph.signature(model)


def test_logits_have_two_dimensions() -> None:
    with pytest.raises(GraphError, match=r"output 'y' is .* not .batch, classes. logits"):
        graph.signature(relu(shape=["batch", 3, 4, 4]))


def test_folding_leaves_no_batch_norm_and_the_same_function() -> None:
    rng = np.random.default_rng(0)
    names = ["scale", "shift", "mean", "variance"]
    constants = [nets.constant(name, rng.uniform(0.5, 2, 4)) for name in names]
    constants += [nets.constant("w", rng.normal(size=(4, 3, 1, 1)))]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *names], ["n"]),
        helper.make_node("Flatten", ["n"], ["y"]),
    ]
    model = nets.model(nodes, constants, [3, 2, 2], 16)
    folded = graph.fold(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Flatten"]
    assert all(node.name for node in folded.graph.node)
    inputs = rng.normal(size=(4, 3, 2, 2)).astype(np.float32)
    assert np.allclose(logits_of(folded, inputs), logits_of(model, inputs), atol=1e-5)


def test_constants_that_old_files_list_as_inputs_are_constants() -> None:
    model = nets.depthwise().onnx()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert [given.name for given in graph.check(model).graph.input] == ["x"]


@pytest.mark.parametrize(("mean", "std"), [([127.0], [128.0]), ([123.0, 117.0, 104.0], [58.0, 57.0, 57.5])])
def test_pixels_are_normalised_inside_the_model(mean: list[float], std: list[float]) -> None:
    model = nets.depthwise().onnx()
    pixels = np.random.default_rng(0).integers(0, 256, (3, nets.SIDE, nets.SIDE, 3), np.uint8)
    by_hand = ((pixels - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2).astype(np.float32)
    wanted = logits_of(model, by_hand)
    taking = graph.take_pixels(model, mean, std)
    assert graph.signature(taking).input.shape == (-1, nets.SIDE, nets.SIDE, 3)
    assert np.allclose(logits_of(graph.fold(taking), pixels), wanted, atol=1e-4)


def test_only_an_image_model_can_take_pixels() -> None:
    with pytest.raises(GraphError, match=r"--mean and --std do not apply"):
        graph.take_pixels(relu(), [0.0], [1.0])


def test_a_model_of_a_larger_batch_is_refused() -> None:
    with pytest.raises(GraphError, match=r"input 'x' takes 8 samples at a time, not one"):
        graph.check(relu(shape=[8, 3]))
