"""For which files a certificate holds, and what it says of any other."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_node.gate.certificate import Binding, Certificate, load, verify
from edge_node.prepare.certify.write import write
from protos.artifact import Artifact, CloudModel, Gate, ImageInput, preprocessing_id
from tests.gate.certificates import certificate
from tests.models import cloud_artifact, edge_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A certified edge artifact."""
    return certified(tmp_path_factory.mktemp("certified"))


def certified(folder: Path, **changes: Any) -> Artifact:
    """An edge artifact whose certificate has other figures."""
    edge = edge_artifact(folder / "edge", cloud_artifact(folder / "cloud"))
    assert edge.manifest.cloud
    binding = Binding(
        edge=edge.sha256,
        cloud=edge.manifest.cloud,
        preprocessing=preprocessing_id(edge.manifest),
        cloud_preprocessing=preprocessing_id(edge.manifest),
        codec="tensor",
    )
    return write(certificate(binding=binding, **changes), edge, folder / "certified")


def held(artifact: Artifact) -> Certificate:
    found = load(artifact)
    assert found
    return found


def test_it_holds_for_the_files_that_it_was_made_of(artifact: Artifact) -> None:
    assert verify(held(artifact), artifact) is None


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("cloud", None, "the artifact names none"),
        ("cloud", CloudModel(name="cloud", sha256="1" * 64), "the artifact names 111111111111"),
        ("preprocessing", ImageInput(size=8), "for another preprocessing than the artifact's"),
        ("gate", None, "the artifact's gate is not the certified one"),
        ("gate", Gate(threshold=0.31), "the artifact's gate is not the certified one"),
        ("gate", Gate(threshold=0.3, temperature=1.1), "the artifact's gate is not the certified one"),
        ("files", {"model.onnx": "2" * 64}, "this is 222222222222"),
    ],
)
def test_it_holds_for_no_other(artifact: Artifact, field: str, value: object, problem: str) -> None:
    manifest = msgspec.structs.replace(artifact.manifest, **{field: value})
    found = verify(held(artifact), dataclasses.replace(artifact, manifest=manifest))
    assert found
    assert problem in found


def test_of_arrays_alone_it_holds_for_nothing(artifact: Artifact) -> None:
    assert verify(certificate(), artifact) == "the certificate is bound to no model"
