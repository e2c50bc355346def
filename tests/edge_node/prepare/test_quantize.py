"""What the command chooses by default, on nets where the naive way is known to fail."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import quantization

from edge_node.prepare import graph
from edge_node.prepare.choice import REFERENCE
from edge_node.prepare.data import Dataset, Samples
from edge_node.prepare.errors import PrepareError
from edge_node.prepare.measure import logits_of, measure
from edge_node.prepare.pack import Facts
from edge_node.prepare.quantize import quantize
from edge_node.prepare.quantized import Quantized
from edge_node.prepare.variants import Reader
from tests.edge_node.prepare import nets
from tests.models import linear

LABELS = tuple("abcdef")


@pytest.fixture(scope="module")
def data() -> Samples:
    return nets.samples()


def drop(report: Quantized, name: str) -> float:
    return float(next(one for one in report.report["variants"] if one["name"] == name)["drop"]["value"])


def naive(model: onnx.ModelProto, data: Samples, folder: Path) -> onnx.ModelProto:
    """What a first attempt with the library's defaults gives: one scale a tensor."""
    onnx.save(graph.fold(model), folder / "float.onnx")
    quantization.quantize_static(folder / "float.onnx", folder / "naive.onnx", Reader("x", data.inputs[:100]))
    return onnx.load(folder / "naive.onnx")


def test_a_depthwise_net_that_collapses_per_tensor_is_recovered(data: Samples, tmp_path: Path) -> None:
    model = nets.unequal(nets.depthwise()).onnx()
    reference = logits_of(model, data.inputs)
    assert measure(naive(model, data, tmp_path), reference, data).drop.value > 0.1
    made = quantize(model, data, method="static")
    assert made.precision == "int8"
    assert drop(made, "static minmax") > 0.1
    assert drop(made, made.choice.name) <= 0.01
    assert made.report["float_layers"] == []


def test_one_planted_bad_layer_is_found_and_only_it_is_put_back(data: Samples) -> None:
    made = quantize(nets.spoiled(nets.depthwise(), 2).onnx(), data, method="static")
    assert made.report["float_layers"] == ["conv2"]
    assert drop(made, made.choice.name) <= 0.01
    assert made.report["worst_layers"][0].startswith("layer conv2 (Conv 48 x 24 x 1 x 1)")
    assert "its largest weights are" in made.report["worst_layers"][0]


def test_a_layer_put_back_computes_in_float_when_onnxruntime_has_loaded_it(data: Samples) -> None:
    model = nets.spoiled(nets.depthwise(), 2).onnx()
    made = quantize(model, data, method="static")
    weights = {tensor.name: tensor for tensor in made.model.graph.initializer}
    layer = next(node for node in made.model.graph.node if node.name == "conv2")
    assert weights[layer.input[1]].data_type == onnx.TensorProto.FLOAT
    unheld = onnx.ModelProto()
    unheld.CopyFrom(made.model)
    again = next(node for node in unheld.graph.node if node.name == "conv2")
    again.op_type, again.domain = "Conv", ""
    reference = logits_of(model, data.inputs)
    assert measure(made.model, reference, data).drop.value <= 0.01
    assert measure(unheld, reference, data).drop.value > 0.1, (
        "onnxruntime leaves it alone now: hold_float can go"
    )


def test_auto_keeps_the_budget_whatever_it_chooses(data: Samples) -> None:
    made = quantize(nets.depthwise().onnx(), data)
    assert drop(made, made.choice.name) <= 0.01
    assert made.speed is not None
    assert set(made.speed["variants"]) >= {REFERENCE, "fp16", "dynamic", "weight-only"}
    assert "\n" not in made.choice.reason


def test_int8_too_inexact_for_the_budget_is_not_chosen() -> None:
    """One linear layer whose every answer hangs on the last digits."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1000, 3)).astype(np.float32)
    inputs[:, 1] = inputs[:, 0] + rng.choice([-1e-3, 1e-3], 1000)
    nodes = [onnx.helper.make_node("Gemm", ["x", "w"], ["logits"], "only")]
    model = nets.model(nodes, [nets.constant("w", np.eye(3) * [1, 1, 0])], [3], 3)
    made = quantize(model, Samples(inputs))
    assert made.precision == "fp32"
    with pytest.raises(PrepareError, match="--method dynamic drops 0"):
        quantize(model, Samples(inputs), method="dynamic")


@pytest.mark.parametrize("method", ["dynamic", "weight-only", "fp16"])
def test_a_method_asked_for_by_name_is_taken(data: Samples, method: str) -> None:
    made = quantize(nets.depthwise().onnx(), data, method=method)  # type: ignore[arg-type] # one of its names
    assert made.choice.name == method
    assert made.choice.reason == f"{method}, as asked for, keeps the budget of 0.01"


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
def test_every_range_calibration(data: Samples, ranges: str) -> None:
    made = quantize(nets.depthwise().onnx(), data, method="static", ranges=ranges)  # type: ignore[arg-type]
    assert made.choice.name.startswith(f"static {ranges}")


@pytest.mark.parametrize(
    ("target", "activations"), [("x86-vnni", "UINT8"), ("x86-avx2", "UINT8"), ("arm64", "INT8")]
)
def test_types_follow_the_target(data: Samples, target: str, activations: str) -> None:
    made = quantize(nets.depthwise().onnx(), data, target=target, method="static")
    types = {tensor.name: tensor for tensor in made.model.graph.initializer}
    assert types["x_zero_point"].data_type == getattr(onnx.TensorProto, activations)
    largest = np.abs(onnx.numpy_helper.to_array(types["w0_quantized"]).astype(int)).max()
    assert (largest <= 64) == (target == "x86-avx2")


def test_the_logits_stay_float(data: Samples) -> None:
    made = quantize(nets.depthwise().onnx(), data, method="static")
    last = next(node for node in made.model.graph.node if "logits" in node.output)
    assert last.op_type == "Gemm"
    scores = logits_of(made.model, data.inputs)
    assert len(np.unique(scores)) > 256 * 4


def test_a_dataset_is_any_iterable_and_what_makes_an_input_of_an_item(data: Samples) -> None:
    rows = zip(data.inputs, np.asarray(data.labels), strict=True)
    dataset = Dataset(
        ({"image": one, "class": label} for one, label in rows), lambda item: (item["image"], item["class"])
    )
    made = quantize(nets.depthwise().onnx(), dataset, method="fp16")
    assert made.report["labelled"]
    assert made.report["samples"] == {"calibration": 120, "measured": 480}


def test_without_labels_the_drop_is_the_share_of_changed_answers(data: Samples) -> None:
    made = quantize(nets.unequal(nets.depthwise()).onnx(), Samples(data.inputs), method="static")
    for one in made.report["variants"]:
        assert one["accuracy"] is None
        assert one["drop"]["value"] == pytest.approx(1 - one["agreement"]["value"])


def test_what_is_chosen_packs_with_its_own_precision(data: Samples, tmp_path: Path) -> None:
    made = quantize(nets.depthwise().onnx(), data, method="static")
    packed = made.pack(tmp_path / "net", Facts(name="net", precision="fp32", labels=LABELS))
    assert packed.manifest.precision == "int8"
    assert (tmp_path / "net" / "report.json").exists()


def test_a_model_file_may_be_given(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    made = quantize(linear(tmp_path / "tiny.onnx"), Samples(inputs, inputs.argmax(1)), max_drop=0.05)
    assert made.report["variants"][0]["accuracy"]["value"] == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_drop": 0}, "a drop of 0 is no share between 0 and 1"),
        ({"max_drop": 1.0}, "a drop of 1 is no share between 0 and 1"),
        ({"target": "m68k"}, "target 'm68k' is unknown: choose auto, x86-vnni, x86-avx2, arm64"),
    ],
)
def test_a_wrong_option_is_one_line(data: Samples, options: dict[str, object], problem: str) -> None:
    with pytest.raises(PrepareError, match=problem):
        quantize(nets.depthwise().onnx(), data, **options)  # type: ignore[arg-type]
