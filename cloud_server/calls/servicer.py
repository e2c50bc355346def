"""The Open Inference Protocol v2 over gRPC: decode, ask, encode. No policy in here.

An error raised here becomes a status in ``interceptors.py``.
"""
# ruff: noqa: N802 - the protocol's names

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import grpc

from cloud_server.access.callers import Login
from cloud_server.calls import writing
from cloud_server.calls.aside import aside
from cloud_server.calls.reading import Request
from cloud_server.calls.streaming import Streams
from cloud_server.errors import NotOffered, UnknownModel
from cloud_server.inference import parameters
from cloud_server.inference.answering import Answering
from cloud_server.inference.catalogue import Entry
from cloud_server.inference.company import Alone
from cloud_server.inference.question import Question
from cloud_server.metrics import Meter
from protos import inference_pb2 as pb
from protos.artifact import TensorSpec
from protos.identity import MODEL_SHA256, PREPROCESSING_SHA256, STREAMING

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
    STREAMING,
)
"""By the names that Triton gives them, where it gives one."""


class InferenceServicer:
    """``GRPCInferenceService``, with Triton's extensions."""

    def __init__(self, answering: Answering, company: Alone, meter: Meter, login: Login) -> None:
        self._answering, self._company, self._catalogue = answering, company, company.catalogue
        self._repository, self._rights = company.catalogue.repository, answering.rights
        loads = ThreadPoolExecutor(1, "loads")
        self.RepositoryModelLoad = aside(self._load, loads)
        self.RepositoryModelUnload = aside(self._unload, loads)
        self.ModelStreamInfer = Streams(self._infer, meter, login)
        self.ready = True
        """The port opens when the models are warm; not any more once the server stops."""

    def ServerLive(self, _: pb.ServerLiveRequest, __: grpc.ServicerContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, _: pb.ServerReadyRequest, __: grpc.ServicerContext) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.ready)

    def ModelReady(self, request: pb.ModelReadyRequest, _: grpc.ServicerContext) -> pb.ModelReadyResponse:
        """A model that is not here is not ready: no error, as with Triton."""
        self._rights.require_model(request.name)
        try:
            self._repository.get(request.name, request.version)
        except UnknownModel:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def ServerMetadata(
        self, _: pb.ServerMetadataRequest, __: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="tidegate", version=version("tidegate"), extensions=EXTENSIONS)

    def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """The signature; digests of ONNX file and preprocessing come in the trailing metadata."""
        self._rights.require_model(request.name)
        card = self._repository.get(request.name, request.version).card
        digests = {MODEL_SHA256: card.sha256, PREPROCESSING_SHA256: card.preprocessing}
        context.set_trailing_metadata(tuple((key, value) for key, value in digests.items() if value))
        return pb.ModelMetadataResponse(
            name=card.name,
            versions=list(self._repository.versions(card.name)),
            platform="onnxruntime_onnx",
            inputs=map(_metadata, card.inputs),
            outputs=map(_metadata, card.outputs),
        )

    def ModelInfer(self, request: Request, context: grpc.ServicerContext, left: float) -> bytes:
        """The response, serialised. Raw contents are answered with raw, typed with typed.

        ``left``: seconds that its caller waits. The response's parameters say which model did, how long it
        took, and what the time is.
        """
        question = _question(request, context, left, seated=True)
        return writing.response(request, self._answering.answer(question))

    def _infer(self, request: Request, context: grpc.ServicerContext) -> bytes:
        question = _question(request, context, context.time_remaining(), seated=False)
        return writing.streamed(request, self._answering.answer(question))

    def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, _: grpc.ServicerContext
    ) -> pb.ModelStatisticsResponse:
        """Of one model, or of all; ``UnknownModel`` if there is none of that name and version."""
        if request.name:
            self._rights.require_model(request.name)
            chosen = [self._repository.get(request.name, request.version)]
        else:
            chosen = [model for model in self._repository if self._rights.sees(model.card.name)]
        return pb.ModelStatisticsResponse(model_stats=self._company.statistics([it.card for it in chosen]))

    def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, _: grpc.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        """Every version that is served, and unless only what is ready is asked for, those that failed."""
        _require_unnamed(request.repository_name)
        index = (it for it in self._catalogue.index() if self._rights.sees(it.name))
        entries = [it for it in index if not (request.ready and it.reason)]
        return pb.RepositoryIndexResponse(models=map(_listed, entries))

    def _load(
        self, request: pb.RepositoryModelLoadRequest, _: grpc.ServicerContext
    ) -> pb.RepositoryModelLoadResponse:
        """Back when the model serves; an error says why it does not, and what was served still is."""
        self._rights.require_control()
        _require_unnamed(request.repository_name)
        if request.parameters:
            raise NotOffered("models come from this server's own folder: no parameters are taken")
        self._company.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    def _unload(
        self, request: pb.RepositoryModelUnloadRequest, _: grpc.ServicerContext
    ) -> pb.RepositoryModelUnloadResponse:
        self._rights.require_control()
        _require_unnamed(request.repository_name)
        self._company.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()


def _question(request: Request, context: grpc.ServicerContext, left: float, *, seated: bool) -> Question:
    call = parameters.call(request.wishes, left, context.is_active, seated=seated)
    return Question(request.head.asked, request.size, request.tensors, call)


def _require_unnamed(repository: str) -> None:
    if repository:
        raise NotOffered(f"no repository {repository!r}: there is one, and it has no name")


def _listed(entry: Entry) -> pb.RepositoryIndexResponse.ModelIndex:
    state = "UNAVAILABLE" if entry.reason else "READY"
    return pb.RepositoryIndexResponse.ModelIndex(
        name=entry.name, version=entry.version, state=state, reason=entry.reason
    )


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
