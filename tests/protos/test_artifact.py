"""An artifact is what was packed, or it does not load; the message names the file and the mistake."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protos import artifact as contract
from protos.artifact import MANIFEST, MODEL, VECTORS, Artifact, ArtifactError, ImageInput, load

FILES = (MODEL, VECTORS, "report.json")

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def directory(artifact: Artifact, tmp_path: Path) -> Path:
    """An artifact to damage."""
    copy = tmp_path / "copy"
    shutil.copytree(artifact.directory, copy)
    repack(copy, "report.json", b"{}\n")
    return copy


def change_manifest(directory: Path, change: Change) -> None:
    """Let ``change`` edit the manifest as a dict."""
    path = directory / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes())
    change(manifest)
    path.write_bytes(msgspec.json.encode(manifest))


def repack(directory: Path, name: str, content: bytes) -> None:
    """Write a file and its true digest, as a careless maker would."""
    (directory / name).write_bytes(content)
    found = contract.digest(directory / name)
    change_manifest(directory, lambda manifest: manifest["files"].update({name: found}))


def store_vectors(directory: Path, **arrays: Any) -> None:
    np.savez(directory / VECTORS, **arrays)
    repack(directory, VECTORS, (directory / VECTORS).read_bytes())


def refusal(directory: Path) -> str:
    """The problem that ``load`` names."""
    with pytest.raises(ArtifactError) as caught:
        load(directory)
    assert str(caught.value) == f"artifact {directory}: {caught.value.problem}"
    assert "\n" not in str(caught.value)
    return caught.value.problem


def test_a_sound_artifact_loads_with_all_that_a_runtime_needs(directory: Path) -> None:
    loaded = load(str(directory))
    inputs, logits = loaded.vectors
    assert loaded.model == directory / MODEL
    assert loaded.sha256 == contract.digest(loaded.model)
    assert loaded.manifest.labels == ("red", "green", "blue")
    assert inputs.dtype == logits.dtype == np.float32
    assert inputs.shape == logits.shape == (16, 3)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found_in_every_file(directory: Path, name: str) -> None:
    content = bytearray((directory / name).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / name).write_bytes(content)
    assert refusal(directory).startswith(f"{name} is not the one packed: SHA-256 ")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    assert refusal(directory) == f"{name} cannot be read: No such file or directory"


def test_a_missing_manifest_is_named(directory: Path) -> None:
    (directory / MANIFEST).unlink()
    assert refusal(directory) == f"has no {MANIFEST}"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent") == "no such directory"


def test_a_model_file_is_no_artifact(artifact: Artifact) -> None:
    assert refusal(artifact.model) == "no such directory"


def test_a_symlink_is_not_followed_out_of_the_artifact(directory: Path, tmp_path: Path) -> None:
    moved = (directory / MODEL).rename(tmp_path / "elsewhere.onnx")
    (directory / MODEL).symlink_to(moved)
    assert refusal(directory) == f"'{MODEL}' does not lie in the artifact itself"


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "deep/model.onnx", ""])
def test_a_file_beyond_the_artifact_is_not_read(directory: Path, name: str) -> None:
    change_manifest(directory, lambda manifest: manifest["files"].update({name: "0" * 64}))
    assert refusal(directory) == f"{name!r} does not lie in the artifact itself"


def put(path: str, value: object) -> Change:
    """Set one value deep in a manifest."""
    *way, last = path.split(".")

    def change(manifest: dict[str, Any]) -> None:
        for step in way:
            manifest = manifest[step]
        manifest[last] = value

    return change


PNORM = {"kind": "maxlogit-pnorm"}
GAIN = {"kind": "gain", "helps": {"weights": [1, 2, 3], "bias": [0, 0]}}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put("labels", ["red", "green"]), "2 labels for 3 classes"),
        (put("labels", ["red", "green", "blue", "grey"]), "4 labels for 3 classes"),
        (lambda it: it.pop("labels"), "manifest.json: Object missing required field `labels`"),
        (put("lables", []), "manifest.json: Object contains unknown field `lables`"),
        (put("gate.treshold", 1), "manifest.json: Object contains unknown field `treshold` - at `$.gate`"),
        (put("gate.temperature", 0), "manifest.json: Expected `float` > 0.0 - at `$.gate.temperature`"),
        (
            put("gate.score", {"kind": "vibes"}),
            "manifest.json: Invalid value 'vibes' - at `$.gate.score.kind`",
        ),
        (put("gate.score", PNORM | {"p": 11}), "manifest.json: Expected `int` <= 10 - at `$.gate.score.p`"),
        (put("gate.score", GAIN), "gate: score gain has 2 biases for 3 classes"),
        (put("schema", "tidegate.artifact/2"), "manifest.json: Invalid enum value 'tidegate.artifact/2'"),
        (put("precision", "int4"), "manifest.json: Invalid enum value 'int4'"),
        (put("signature.input.datatype", "FP31"), "signature: 'x' is 'FP31', which an artifact cannot have"),
        (
            put("signature.output.datatype", "BF16"),
            "signature: 'logits' is 'BF16', which an artifact cannot have",
        ),
        (put("signature.input.datatype", "UINT8"), "vectors.npz holds float32 (16, 3) -> "),
        (put("signature.input.shape", [-1, 4]), "vectors.npz holds float32 (16, 3) -> (16, 3), which is not"),
        (put("signature.output.shape", [-1, 2]), "3 labels for 2 classes"),
        (put("signature.output.shape", [3]), "signature: output 'logits' is not (batch, classes)"),
        (put("preprocessing", {"kind": "image", "size": 8}), "preprocessing yields UINT8 [1, 8, 8, 3], the"),
        (lambda it: it["files"].pop(MODEL), "manifest.json lists no SHA-256 for model.onnx"),
        (lambda it: it["files"].pop(VECTORS), "manifest.json lists no SHA-256 for vectors.npz"),
        (put("files.model", "abc"), "manifest.json: Expected `str` matching regex"),
    ],
)
def test_a_manifest_that_cannot_be_true_is_refused(directory: Path, change: Change, problem: str) -> None:
    change_manifest(directory, change)
    assert refusal(directory).startswith(problem)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(directory: Path, content: bytes) -> None:
    (directory / MANIFEST).write_bytes(content)
    assert refusal(directory).startswith("manifest.json: ")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"text", b"\x93NUMPY\x01\x00"])
def test_vectors_that_are_no_vectors_are_refused(directory: Path, content: bytes) -> None:
    repack(directory, VECTORS, content)
    assert refusal(directory).startswith("vectors.npz cannot be read: ")


def test_a_bare_array_is_no_vectors(directory: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    repack(directory, VECTORS, (tmp_path / "x.npy").read_bytes())
    assert refusal(directory).startswith("vectors.npz cannot be read: ")


def test_vectors_without_logits_are_refused(directory: Path) -> None:
    store_vectors(directory, inputs=np.zeros((2, 3), np.float32))
    assert refusal(directory).startswith("vectors.npz cannot be read: 'logits is not a file")


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (np.zeros((0, 3), np.float32), "vectors.npz holds no golden vectors"),
        (
            np.zeros((2, 3), np.float64),
            "vectors.npz holds float64 (2, 3) -> (2, 3), which is not the signature's",
        ),
        (np.zeros((), np.float32), "vectors.npz holds float32 () -> (0, 3), which is not"),
    ],
)
def test_vectors_that_prove_nothing_are_refused(directory: Path, inputs: np.ndarray, problem: str) -> None:
    store_vectors(directory, inputs=inputs, logits=np.zeros((inputs.size // 3, 3), np.float32))
    assert refusal(directory).startswith(problem)


def test_a_model_that_takes_one_sample_at_a_time_may_have_many_vectors(directory: Path) -> None:
    change_manifest(directory, put("signature.input.shape", [1, 3]))
    assert len(load(directory).vectors[0]) > 1


def test_the_same_manifest_is_the_same_bytes(artifact: Artifact) -> None:
    encoded = contract.encode_manifest(artifact.manifest)
    assert encoded == (artifact.directory / MANIFEST).read_bytes()


def test_an_image_manifest_says_how_to_unfold_images() -> None:
    decoded = msgspec.json.decode(b'{"kind": "image", "size": 224, "crop": 0.875}', type=ImageInput)
    assert decoded == ImageInput(size=224, crop=0.875)
