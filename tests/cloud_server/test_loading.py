"""Which files and folders are served, and what is said of those that are not."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud_server import config
from cloud_server.config import CloudConfig
from cloud_server.errors import ModelError
from cloud_server.inference import loading
from cloud_server.inference.limits import LARGEST, SMALLEST
from cloud_server.inference.repository import Repository
from protos import artifact
from protos.artifact import Manifest
from tests.cloud_server import graphs
from tests.models import cloud_artifact, linear


def load(*paths: Path) -> Repository:
    settings = CloudConfig(models=tuple(config.Model(path=path) for path in paths))
    return loading.load(settings).repository


def rewrite(directory: Path, **changes: object) -> None:
    """Change a manifest as its maker could have."""
    manifest = artifact.load(directory).manifest
    changed: Manifest = msgspec.structs.replace(manifest, **changes)
    (directory / artifact.MANIFEST).write_bytes(artifact.encode_manifest(changed))


def repack(directory: Path, name: str) -> None:
    """Take a changed file of an artifact for the right one."""
    files = msgspec.json.decode((directory / artifact.MANIFEST).read_bytes(), type=Manifest).files
    text = (directory / artifact.MANIFEST).read_text()
    (directory / artifact.MANIFEST).write_text(text.replace(files[name], artifact.digest(directory / name)))


def test_an_artifact_is_served_under_the_name_in_its_manifest(tmp_path: Path) -> None:
    cloud_artifact(tmp_path / "some folder")
    rewrite(tmp_path / "some folder", name="big", version="2026-11")
    (model,) = load(tmp_path / "some folder")
    assert (model.card.name, model.card.version, model.card.precision) == ("big", "2026-11", "fp32")


def test_a_file_is_served_under_its_stem(tmp_path: Path) -> None:
    (model,) = load(linear(tmp_path / "res.net.onnx"))
    assert (model.card.name, model.card.version) == ("res.net", "1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it holds no graph"),
        (b"no model", "truncated, nested too deep, or something else altogether"),
    ],
)
def test_a_corrupt_file_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"^model {path}: is no ONNX model that can run here: .*{problem}"):
        load(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = linear(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match="is no ONNX model that can run here"):
        load(path)


def test_an_absent_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="absent: no such file or folder"):
        load(tmp_path / "absent")


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no manifest\.json"):
        load(tmp_path)


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path = cloud_artifact(tmp_path / "cloud").model
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx is not the one packed"):
        load(path.parent)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    one, two = linear(tmp_path / "a" / "same.onnx"), linear(tmp_path / "b" / "same.onnx")
    with pytest.raises(ModelError, match=rf"^model {two}: has the same name as {one}: 'same'$"):
        load(one, two)


def test_an_output_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    path = graphs.sequence(tmp_path / "sequence.onnx")
    with pytest.raises(ModelError, match=r"'y' is seq\(tensor\(float\)\), which the protocol cannot carry"):
        load(path)


def test_a_manifest_of_another_signature_is_refused(tmp_path: Path) -> None:
    directory = cloud_artifact(tmp_path / "cloud").directory
    linear(directory / artifact.MODEL, classes=4)
    repack(directory, artifact.MODEL)
    with pytest.raises(
        ModelError, match=r"the manifest's input is x FP32 \[-1, 3\], the ONNX file's x FP32 \[-1, 4\]"
    ):
        load(directory)


@pytest.mark.parametrize("scale", [2.0, np.nan])
def test_a_model_that_does_not_reproduce_its_golden_vector_is_refused(tmp_path: Path, scale: float) -> None:
    directory = cloud_artifact(tmp_path / "cloud").directory
    linear(directory / artifact.MODEL, scale)
    repack(directory, artifact.MODEL)
    with pytest.raises(ModelError, match="does not reproduce its golden vector: logits are off by"):
        load(directory)


def test_the_largest_request_follows_the_models(tmp_path: Path) -> None:
    small = linear(tmp_path / "small.onnx")
    wide = linear(tmp_path / "wide.onnx", classes=1024)
    free = graphs.arithmetic(tmp_path / "free.onnx")
    images = graphs.colour(tmp_path / "colour").directory
    assert load(small).request_bytes == SMALLEST
    assert load(small, images).request_bytes == LARGEST
    assert load(free).request_bytes == SMALLEST
    assert SMALLEST <= load(small, wide).request_bytes < LARGEST
