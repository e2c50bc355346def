"""Packing: an artifact whole and the same every time, or one line that says what does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_node.prepare.pack import Facts, PackError, pack
from protos import artifact as contract
from protos.artifact import ArtifactError, Gate
from tests.models import LABELS, linear, samples, save

FACTS = Facts(name="colours", precision="fp32", labels=LABELS, gate=Gate(threshold=0.8))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return linear(tmp_path / "model" / "colours.onnx")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "colours"


@contextmanager
def refused(out: Path, problem: str, error: type[Exception] = PackError) -> Iterator[None]:
    """The block fails with ``problem`` and leaves nothing behind."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(error, match=problem):
        yield
    assert sorted(out.parent.rglob("*")) == before


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_is_packed_loads_and_holds_what_was_given(model: Path, out: Path) -> None:
    packed = pack(out, model, FACTS, samples(), report={"accuracy": 0.9})
    assert packed.manifest == contract.load(out).manifest
    assert set(content(out)) == {"model.onnx", "vectors.npz", "report.json", "manifest.json"}
    assert packed.model.read_bytes() == model.read_bytes()
    assert (packed.manifest.name, packed.manifest.gate) == ("colours", Gate(threshold=0.8))


def test_the_golden_vectors_are_samples_with_the_model_s_own_logits(model: Path, out: Path) -> None:
    inputs, logits = pack(out, model, FACTS, samples()).vectors
    assert np.array_equal(inputs, samples(16))
    assert np.array_equal(logits, samples(16))


def test_a_sample_without_a_clear_winner_is_no_golden_vector(model: Path, out: Path) -> None:
    given = samples(3)
    given[1] = 1
    inputs, _ = pack(out, model, FACTS, given).vectors
    assert np.array_equal(inputs, given[[0, 2]])


def test_the_same_input_gives_the_same_bytes(model: Path, out: Path, tmp_path: Path) -> None:
    pack(out, model, FACTS, samples(), report={"a": 1})
    pack(tmp_path / "again", model, FACTS, samples(), report={"a": 1})
    assert content(out) == content(tmp_path / "again")


def test_an_earlier_artifact_is_replaced_whole(model: Path, out: Path) -> None:
    pack(out, model, FACTS, samples(), report={"a": 1})
    pack(out, model, Facts(name="new", precision="fp32", labels=LABELS), samples())
    assert contract.load(out).manifest.name == "new"
    assert "report.json" not in content(out)


def test_a_failed_attempt_leaves_the_earlier_artifact(model: Path, out: Path) -> None:
    pack(out, model, FACTS, samples())
    before = content(out)
    with refused(out, "2 labels for 3 classes", ArtifactError):
        pack(out, model, Facts(name="new", precision="fp32", labels=LABELS[:2]), samples())
    assert content(out) == before


def test_a_folder_that_is_no_artifact_is_not_touched(model: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "thesis.tex").write_text("years of work")
    with refused(out, "exists and is no artifact; choose another or remove it"):
        pack(out, model, FACTS, samples())
    assert content(out) == {"thesis.tex": b"years of work"}


def test_a_file_is_not_overwritten(model: Path, out: Path) -> None:
    out.parent.mkdir()
    out.write_text("x")
    with refused(out, "exists and is no artifact"):
        pack(out, model, FACTS, samples())
    assert out.read_text() == "x"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (samples().astype(np.float64), r"samples are float64 \(20, 3\), the model takes float32 \(-1, 3\)"),
        (samples()[:, :2], r"samples are float32 \(20, 2\), the model takes"),
        (samples()[0], r"samples are float32 \(3,\), the model takes"),
        (np.float32(1), r"samples are float32 \(\), the model takes"),
        (samples(0), r"samples are float32 \(0, 3\), the model takes"),
        (np.ones((4, 3), np.float32), "no sample has a clear winner"),
        (np.full((4, 3), np.nan, np.float32), "NaN or infinite logits"),
    ],
    ids=["dtype", "shape", "no batch", "scalar", "none", "ties", "NaN"],
)
def test_samples_that_do_not_fit_are_refused(model: Path, out: Path, given: Any, problem: str) -> None:
    with refused(out, problem):
        pack(out, model, FACTS, np.asarray(given))


def test_a_file_that_is_no_model_is_refused(out: Path, tmp_path: Path) -> None:
    (tmp_path / "colours.onnx").write_text("not a model")
    with refused(out, r"colours\.onnx cannot be loaded: "):
        pack(out, tmp_path / "colours.onnx", FACTS, samples())


def test_a_model_that_is_not_there_is_refused(out: Path, tmp_path: Path) -> None:
    with refused(out, r"absent\.onnx cannot be loaded: "):
        pack(out, tmp_path / "absent.onnx", FACTS, samples())


def test_a_model_of_several_outputs_is_refused(model: Path, out: Path) -> None:
    loaded = onnx.load(model)
    loaded.graph.output.append(helper.make_tensor_value_info("as_float", onnx.TensorProto.FLOAT, None))
    onnx.save(loaded, model)
    with refused(out, r"the model has 2 outputs \(logits, as_float\), not one"):
        pack(out, model, FACTS, samples())


def test_a_model_of_bfloat16_is_refused(tmp_path: Path, out: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["logits"], to=onnx.TensorProto.FLOAT)]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.BFLOAT16, ["batch", 3])
    with refused(out, "'x' is BF16, which an artifact cannot have: cast it to FP32"):
        pack(out, save(tmp_path / "brain.onnx", nodes, [], x, 3), FACTS, samples())


def reshaped(path: Path, shape: list[int]) -> Path:
    """The model that gives its input (batch, 3) in another shape."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["logits"])]
    weights = [onnx.numpy_helper.from_array(np.array(shape), "shape")]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3])
    return save(path, nodes, weights, x, shape[-1])


@pytest.mark.parametrize("shape", [[-1, 1], [1, 1, 3], [3]])
def test_a_model_that_gives_no_logits_is_refused(tmp_path: Path, out: Path, shape: list[int]) -> None:
    with refused(out, r"the model gives \(.*\) for a sample, not \(1, classes\)"):
        pack(out, reshaped(tmp_path / "odd.onnx", shape), FACTS, samples())


def test_a_model_that_does_not_run_on_the_samples_is_refused(tmp_path: Path, out: Path) -> None:
    with refused(out, "the model does not run on a sample: "):
        pack(out, reshaped(tmp_path / "odd.onnx", [-1, 2]), FACTS, samples())


def test_a_name_that_is_none_is_refused(model: Path, out: Path) -> None:
    with refused(out, r"matching regex .* - at `\$\.name`", ArtifactError):
        pack(out, model, Facts(name="my model", precision="fp32", labels=LABELS), samples())


def test_a_model_of_one_sample_at_a_time_is_packed(model: Path, out: Path) -> None:
    loaded = onnx.load(model)
    for tensor in (*loaded.graph.input, *loaded.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(loaded, model)
    packed = pack(out, model, FACTS, samples())
    assert packed.manifest.signature.input.shape == (1, 3)
    assert len(packed.vectors[0]) == 16
