"""The six calls of the Open Inference Protocol v2: decode, ask the model, encode. No policy in here.

An error raised here becomes a status in ``interceptors.py``.
"""
# ruff: noqa: N802 - the protocol's names

import time
from importlib.metadata import version

import grpc

from cloud_server.errors import UnknownModel
from cloud_server.inference.repository import Repository
from protos import codec, timing
from protos import inference_pb2 as pb
from protos.artifact import TensorSpec
from protos.identity import MODEL_SHA256

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class InferenceServicer:
    """``GRPCInferenceService`` over the models of a repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def ServerLive(self, _: pb.ServerLiveRequest, __: grpc.ServicerContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, _: pb.ServerReadyRequest, __: grpc.ServicerContext) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=True)  # the port opens when the models are warm

    def ModelReady(self, request: pb.ModelReadyRequest, _: grpc.ServicerContext) -> pb.ModelReadyResponse:
        """A model that is not here is not ready: no error, as with Triton."""
        try:
            self._repository.get(request.name, request.version)
        except UnknownModel:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def ServerMetadata(
        self, _: pb.ServerMetadataRequest, __: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="tidegate", version=version("tidegate"))

    def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """The signature; the ONNX file's SHA-256 comes in the trailing metadata."""
        card = self._repository.get(request.name, request.version).card
        context.set_trailing_metadata(((MODEL_SHA256, card.sha256),))
        return pb.ModelMetadataResponse(
            name=card.name,
            versions=[card.version],
            platform="onnxruntime_onnx",
            inputs=map(_metadata, card.inputs),
            outputs=map(_metadata, card.outputs),
        )

    def ModelInfer(
        self, request: pb.ModelInferRequest, context: grpc.ServicerContext
    ) -> pb.ModelInferResponse:
        """Raw contents are answered with raw, typed with typed.

        The trailing metadata say which model did, how long it took, and what the time is.
        """
        model, started = self._repository.get(request.model_name, request.model_version), time.perf_counter()
        context.set_trailing_metadata(((MODEL_SHA256, model.card.sha256),))
        answer = model.infer(codec.request_tensors(request), [output.name for output in request.outputs])
        took = timing.trailer(compute=time.perf_counter() - started)
        context.set_trailing_metadata(((MODEL_SHA256, model.card.sha256), *took))
        return codec.response(
            model.card.name,
            model.card.version,
            request.id,
            answer,
            typed=not request.raw_input_contents,
        )


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
