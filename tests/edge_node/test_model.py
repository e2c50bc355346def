"""The edge model runs as its manifest says, or says in one line that it does not."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edge_node.errors import SampleError
from edge_node.model import EdgeModel, fastest_threads
from protos import artifact as contract
from protos.artifact import MODEL, Artifact, ArtifactError
from tests.models import linear


@pytest.fixture
def folder(artifact: Artifact, tmp_path: Path) -> Path:
    """An artifact whose model a test replaces."""
    shutil.copytree(artifact.directory, tmp_path / "copy")
    return tmp_path / "copy"


def repacked(folder: Path) -> Artifact:
    """The artifact with the true digest of the model it now has."""
    digest = contract.digest(folder / MODEL)
    manifest = (folder / "manifest.json").read_text()
    before = msgspec.json.decode(manifest)["files"][MODEL]
    (folder / "manifest.json").write_text(manifest.replace(before, digest))
    return contract.load(folder)


def rename(path: Path, old: str, new: str) -> None:
    """Call a tensor of a model otherwise."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.name = new if tensor.name == old else tensor.name
    onnx.save(model, path)


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        EdgeModel(repacked(folder), threads=1)
    assert "\n" not in str(caught.value)
    return caught.value.problem


def test_logits_are_one_float_a_class(artifact: Artifact) -> None:
    logits = EdgeModel(artifact).predict(np.array([1, 2, 3], np.float32))
    assert logits.dtype == np.float32
    assert logits.tolist() == [1, 2, 3]


def test_a_small_model_takes_one_thread(artifact: Artifact) -> None:
    assert fastest_threads(artifact) == EdgeModel(artifact).threads == 1


def test_threads_can_be_chosen(artifact: Artifact) -> None:
    assert EdgeModel(artifact, threads=2).threads == 2


@pytest.mark.parametrize("name", ["x", "logits"])
def test_a_tensor_of_another_name_is_refused(folder: Path, name: str) -> None:
    rename(folder / MODEL, name, "other")
    assert refusal(folder).startswith("model.onnx does not run as the manifest says: ")


def test_an_input_of_another_datatype_is_refused(folder: Path) -> None:
    linear(folder / MODEL, dtype=onnx.TensorProto.INT8)
    assert refusal(folder).startswith("model.onnx does not run as the manifest says: ")


def test_an_input_of_another_shape_is_refused(folder: Path) -> None:
    linear(folder / MODEL, classes=4)
    assert refusal(folder).startswith("model.onnx does not run as the manifest says: ")


def test_an_output_of_another_shape_is_refused(folder: Path) -> None:
    model = onnx.load(folder / MODEL)
    weights = onnx.numpy_helper.from_array(np.eye(3, 4, dtype=np.float32), "weights")
    model.graph.initializer[0].CopyFrom(weights)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(model, folder / MODEL)
    assert refusal(folder) == "model.onnx gives [4], the manifest says [3]"


def test_a_file_that_is_no_model_is_refused(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"not a model")
    assert refusal(folder).startswith("model.onnx does not run as the manifest says: ")


def test_a_tensor_that_the_model_cannot_run_on_is_a_bad_sample(artifact: Artifact) -> None:
    with pytest.raises(SampleError, match=r"^the model cannot run on shape \[4\]: "):
        EdgeModel(artifact).predict(np.zeros(4, np.float32))
