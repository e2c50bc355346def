"""The way to the cloud, and the proof that the model there is the one the artifact names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from edge_node.config import Cloud, Tls
from edge_node.errors import ModelMismatch, NodeError
from edge_node.gate import certificate
from protos import inference_pb2 as pb
from protos.artifact import Artifact, ImageInput
from protos.identity import MODEL_SHA256, PREPROCESSING_SHA256, STREAMING
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from protos.reread import Reread

_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # the server sets the limit
    ("grpc.enable_retries", 0),  # ours know the deadline, the breaker and the bytes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # by default a channel stays blind for two minutes
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel would get the old one's connection
]


def open_channel(settings: Cloud) -> grpc.Channel:
    """A channel to the cloud, not yet connected; ``NodeError`` if a certificate or token cannot be read."""
    if settings.tls is None:
        if settings.token_file:
            raise NodeError("[cloud] token_file: without [cloud.tls] whoever listens in would have the token")
        return grpc.insecure_channel(settings.target, _OPTIONS)
    credentials = _credentials(settings.tls)
    if settings.token_file:
        bearer = grpc.metadata_call_credentials(_Bearer(settings.token_file))
        credentials = grpc.composite_channel_credentials(credentials, bearer)
    return grpc.secure_channel(settings.target, credentials, _OPTIONS)


def expected_model(settings: Cloud, artifact: Artifact) -> str:
    """Name of the model to ask for; ``NodeError`` if neither settings nor artifact say one."""
    named = settings.model or (artifact.manifest.cloud and artifact.manifest.cloud.name)
    if not named:
        raise NodeError(f"artifact {artifact.directory} names no cloud model: set [cloud] model")
    return named


def verify(cloud: GRPCInferenceServiceStub, settings: Cloud, artifact: Artifact, timeout: float) -> str:
    """Name of the input of the cloud's model, once it proved to be the expected one.

    ``ModelMismatch`` names both models; ``grpc.RpcError`` if the cloud does not answer, ``ValueError`` if its
    channel has been closed.
    """
    name = expected_model(settings, artifact)
    try:
        metadata, rpc = cloud.ModelMetadata.with_call(pb.ModelMetadataRequest(name=name), timeout=timeout)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise ModelMismatch(
                settings.target, f"model {name!r}", f"none of that name ({error.details()})"
            ) from None
        raise
    said = dict(rpc.trailing_metadata())
    require_digest(settings, artifact, said)
    _require_preprocessing(settings, artifact, said)
    if problem := _signature_problem(metadata, artifact):
        raise ModelMismatch(settings.target, *(f"model {name!r} {part}" for part in problem))
    return str(metadata.inputs[0].name)


def has_streams(cloud: GRPCInferenceServiceStub, timeout: float) -> bool:
    """Whether the cloud has Triton's streams: it says so, or is Triton, which has them and does not say so.

    Others have a call of that name that is another thing.
    """
    try:
        said = cloud.ServerMetadata(pb.ServerMetadataRequest(), timeout=timeout)
    except (grpc.RpcError, ValueError):  # it has no such call; the channel has been closed
        return False
    return STREAMING in said.extensions or said.name == "triton"


def require_digest(settings: Cloud, artifact: Artifact, said: Mapping[str, str]) -> None:
    """``ModelMismatch`` if the model that answered says another digest than the artifact names."""
    expected, found = artifact.manifest.cloud, said.get(MODEL_SHA256)
    if expected is None or found in (None, expected.sha256):
        return
    model = f"model {expected_model(settings, artifact)!r} of sha256"
    raise ModelMismatch(settings.target, f"{model} {expected.sha256}", f"{model} {found}")


def _require_preprocessing(settings: Cloud, artifact: Artifact, said: Mapping[str, str]) -> None:
    """``ModelMismatch`` if the server makes another input of a payload than what was certified."""
    promise, found = certificate.load(artifact), said.get(PREPROCESSING_SHA256)
    if promise is None or promise.binding is None or found in (None, promise.binding.cloud_preprocessing):
        return
    model = f"model {expected_model(settings, artifact)!r} with preprocessing of sha256"
    raise ModelMismatch(settings.target, f"{model} {promise.binding.cloud_preprocessing}", f"{model} {found}")


def _signature_problem(metadata: Any, artifact: Artifact) -> tuple[str, str] | None:
    """(expected, found) if the cloud's model cannot answer for the edge's."""
    classes = len(artifact.manifest.labels)
    if len(metadata.inputs) != 1 or not metadata.outputs:
        return "with one input", f"with {len(metadata.inputs)} inputs and {len(metadata.outputs)} outputs"
    output = list(metadata.outputs[0].shape)
    if output[-1:] not in ([classes], [-1]):
        return f"with {classes} classes", f"with output {output}"
    mine, theirs = artifact.manifest.signature.input, metadata.inputs[0]
    if isinstance(artifact.manifest.preprocessing, ImageInput):
        return None  # an encoded image fits every image model
    if mine.datatype != theirs.datatype or not _compatible(mine.shape, tuple(theirs.shape)):
        return f"taking {mine.datatype} {list(mine.shape)}", f"taking {theirs.datatype} {list(theirs.shape)}"
    return None


def _compatible(mine: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    return len(mine) == len(theirs) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(mine, theirs, strict=True)
    )


class _Bearer(grpc.AuthMetadataPlugin):
    """Sends what is in a file, as it is at each call."""

    def __init__(self, path: Path) -> None:
        self._token = Reread([path], lambda: _token(path), NodeError)

    def __call__(self, _: object, callback: grpc.AuthMetadataPluginCallback) -> None:
        callback((("authorization", f"Bearer {self._token.value()}"),), None)


def _token(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise NodeError(f"[cloud] token_file: {path}: {problem.lower()}") from None
    if not re.fullmatch(r"[!-~]+", text):
        raise NodeError(f"[cloud] token_file: {path}: holds no token, which is one word")
    return text


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    try:
        return grpc.ssl_channel_credentials(
            *(path.read_bytes() if path else None for path in (tls.ca, tls.key, tls.cert))
        )
    except OSError as error:
        raise NodeError(f"[cloud.tls] {error.filename}: {(error.strerror or str(error)).lower()}") from error
