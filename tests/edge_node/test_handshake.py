"""A cloud with another model than the artifact's is refused at start, and both are named."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from edge_node.config import Cloud, Tls
from edge_node.errors import ModelMismatch, NodeError
from edge_node.gate.certificate import Binding
from edge_node.handshake import expected_model, open_channel, verify
from edge_node.prepare.certify.write import write
from protos.artifact import Artifact, preprocessing_id
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.edge_node.clouds import HOST, INPUT, OUTPUT, cloud, describe
from tests.gate.certificates import certificate
from tests.models import cloud_artifact, edge_artifact

SHA256, OTHER = "1" * 64, "2" * 64


@pytest.fixture(scope="module")
def pledged(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An edge artifact that names its cloud model."""
    folder = tmp_path_factory.mktemp("pledged")
    return edge_artifact(folder / "edge", cloud_artifact(folder / "cloud"))


def tensor(like: Any, datatype: str | None = None, shape: list[int] | None = None) -> Any:
    """The metadata of a tensor like another."""
    changed = type(like)()
    changed.CopyFrom(like)
    changed.datatype = datatype or like.datatype
    changed.shape[:] = like.shape if shape is None else shape
    return changed


def proves(artifact: Artifact, model: str | None = None, **described: Any) -> str:
    """Name of the input, if a server with this metadata is the expected one."""
    with cloud(described=describe(**described)) as port:
        settings = Cloud(target=f"{HOST}:{port}", model=model)
        with open_channel(settings) as channel:
            return verify(GRPCInferenceServiceStub(channel), settings, artifact, 10)


def mismatch(artifact: Artifact, **described: Any) -> str:
    """What ``verify`` says of such a server, without its address."""
    with pytest.raises(ModelMismatch) as caught:
        proves(artifact, **described)
    return str(caught.value).partition(": ")[2]


def test_the_model_that_the_artifact_names_proves_itself(pledged: Artifact) -> None:
    assert pledged.manifest.cloud
    assert proves(pledged, sha256=pledged.manifest.cloud.sha256) == "their_input"


def test_a_server_that_knows_no_digest_is_taken_by_name(pledged: Artifact) -> None:
    assert proves(pledged) == "their_input"


def test_another_digest_is_a_mismatch(pledged: Artifact) -> None:
    assert pledged.manifest.cloud
    assert mismatch(pledged, sha256=SHA256) == (
        f"the artifact expects model 'cloud' of sha256 {pledged.manifest.cloud.sha256}, "
        f"the server has model 'cloud' of sha256 {SHA256}"
    )


def test_another_name_is_a_mismatch(pledged: Artifact) -> None:
    assert mismatch(pledged, name="resnet") == (
        "the artifact expects model 'cloud', the server has none of that name "
        "(no model 'cloud', there is 'resnet')"
    )


@pytest.mark.parametrize(
    ("described", "expected", "found"),
    [
        ({"outputs": [tensor(OUTPUT, shape=[-1, 4])]}, "with 3 classes", "with output [-1, 4]"),
        ({"outputs": [tensor(OUTPUT, shape=[])]}, "with 3 classes", "with output []"),
        ({"outputs": []}, "with one input", "with 1 inputs and 0 outputs"),
        ({"inputs": [INPUT, INPUT]}, "with one input", "with 2 inputs and 1 outputs"),
        ({"inputs": []}, "with one input", "with 0 inputs and 1 outputs"),
        ({"inputs": [tensor(INPUT, "UINT8")]}, "taking FP32 [-1, 3]", "taking UINT8 [-1, 3]"),
        ({"inputs": [tensor(INPUT, shape=[-1, 9])]}, "taking FP32 [-1, 3]", "taking FP32 [-1, 9]"),
        ({"inputs": [tensor(INPUT, shape=[3])]}, "taking FP32 [-1, 3]", "taking FP32 [3]"),
    ],
)
def test_another_signature_is_a_mismatch(
    pledged: Artifact, described: dict[str, Any], expected: str, found: str
) -> None:
    assert mismatch(pledged, **described) == (
        f"the artifact expects model 'cloud' {expected}, the server has model 'cloud' {found}"
    )


@pytest.fixture(scope="module")
def certified(pledged: Artifact) -> Artifact:
    """One whose certificate is for a cloud that prepares its input in a certain way."""
    assert pledged.manifest.cloud
    binding = Binding(
        edge=pledged.sha256,
        cloud=pledged.manifest.cloud,
        preprocessing=preprocessing_id(pledged.manifest),
        cloud_preprocessing=SHA256,
        codec="tensor",
    )
    return write(certificate(binding=binding), pledged, pledged.directory.with_name("certified"))


@pytest.mark.parametrize("said", [SHA256, None])
def test_a_cloud_that_prepares_as_certified_or_does_not_say_is_taken(
    certified: Artifact, said: str | None
) -> None:
    assert proves(certified, preprocessing=said) == "their_input"


def test_a_cloud_that_prepares_otherwise_than_certified_is_a_mismatch(
    certified: Artifact, pledged: Artifact
) -> None:
    what = "model 'cloud' with preprocessing of sha256"
    assert mismatch(certified, preprocessing=OTHER) == (
        f"the artifact expects {what} {SHA256}, the server has {what} {OTHER}"
    )
    assert proves(pledged, preprocessing=OTHER) == "their_input", "nothing was promised of it"


@pytest.mark.parametrize("shape", [[1, 3], [-1, -1], [8, 3]])
def test_sizes_that_one_side_leaves_open_are_no_mismatch(pledged: Artifact, shape: list[int]) -> None:
    assert proves(pledged, inputs=[tensor(INPUT, shape=shape)]) == "their_input"


def test_the_settings_may_name_another_model(artifact: Artifact) -> None:
    assert proves(artifact, model="resnet", name="resnet") == "their_input"


def test_no_model_named_anywhere_says_what_to_set(artifact: Artifact) -> None:
    with pytest.raises(NodeError, match=r"names no cloud model: set \[cloud\] model$"):
        expected_model(Cloud(target="x:1"), artifact)


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = Cloud(target="x:1", tls=Tls(ca=tmp_path / "ca.pem"))
    with pytest.raises(NodeError, match=r"^\[cloud\.tls\] .*/ca\.pem: no such file or directory$"):
        open_channel(settings)


def encrypted_server(authority: trustme.CA) -> tuple[grpc.Server, int]:
    """A server without a single method that shows a certificate of this authority."""
    certificate = authority.issue_cert("localhost")
    key, chain = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, chain)]))
    server.start()
    return server, port


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_trusts_only_its_own_authority(tmp_path: Path, pledged: Artifact, *, trusted: bool) -> None:
    authority = trustme.CA()
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server, port = encrypted_server(authority)
    settings = Cloud(target=f"localhost:{port}", tls=Tls(ca=tmp_path / "ca.pem"))
    with open_channel(settings) as channel, pytest.raises(grpc.RpcError) as caught:
        verify(GRPCInferenceServiceStub(channel), settings, pledged, 10)
    server.stop(None).wait()
    status = grpc.StatusCode.UNIMPLEMENTED if trusted else grpc.StatusCode.UNAVAILABLE
    assert caught.value.code() is status
