"""Small gRPC servers that answer as told: real ones, on a port of loopback."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

import grpc
import numpy as np

from edge_node.fallback.retry import PUSHBACK
from protos import codec
from protos import inference_pb2 as pb
from protos.codec import Tensor
from protos.identity import MODEL_SHA256, PREPROCESSING_SHA256, STREAMING
from tests.nodes import PATIENCE

HOST = "127.0.0.1"
SERVICE = "inference.GRPCInferenceService"
INPUT = pb.ModelMetadataResponse.TensorMetadata(name="their_input", datatype="FP32", shape=[-1, 3])
OUTPUT = pb.ModelMetadataResponse.TensorMetadata(name="their_output", datatype="FP32", shape=[-1, 3])

Context = grpc.ServicerContext
Infer = Callable[[pb.ModelInferRequest, Context], bytes]
Describe = Callable[[pb.ModelMetadataRequest, Context], pb.ModelMetadataResponse]


def surer(request: pb.ModelInferRequest, _: Context) -> bytes:
    """What the model ``cloud`` would say: ten times the input."""
    tensors = codec.request_tensors(request)
    return answer(10 * tensors["their_input"])


def answer(logits: Tensor) -> bytes:
    """A response with these logits."""
    return codec.response("cloud", "1", "", {"their_output": logits}).SerializeToString()


def says(response: bytes) -> Infer:
    """The same bytes to everybody."""
    return lambda _request, _context: response


class Held:
    """Answers nobody before it is let go, and knows how many have waited at once."""

    def __init__(self) -> None:
        self.waiting = self.most = 0
        self.asked, self.let_go = Event(), Event()
        self._lock = Lock()

    def __call__(self, request: pb.ModelInferRequest, context: Context) -> bytes:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self.asked.set()
        self.let_go.wait(PATIENCE)
        with self._lock:
            self.waiting -= 1
        return surer(request, context)


class Counted:
    """Counts its calls and lets others answer: the first call the first, and all that are left the last."""

    def __init__(self, *infers: Infer) -> None:
        self.calls: list[float] = []
        """When each came."""
        self._infers, self._lock = infers, Lock()

    def __call__(self, request: pb.ModelInferRequest, context: Context) -> bytes:
        with self._lock:
            self.calls.append(time.monotonic())
            infer = self._infers[min(len(self.calls), len(self._infers)) - 1]
        return infer(request, context)


def refuses(status: grpc.StatusCode, details: str = "no", pushback: str | None = None) -> Infer:
    """The same refusal to everybody, with milliseconds in which the server wants to be left alone."""

    def infer(_: pb.ModelInferRequest, context: Context) -> bytes:
        if pushback is not None:
            context.set_trailing_metadata(((PUSHBACK, pushback),))
        context.abort(status, details)
        raise AssertionError  # abort raises

    return infer


def describe(
    inputs: Sequence[pb.ModelMetadataResponse.TensorMetadata] = (INPUT,),
    outputs: Sequence[pb.ModelMetadataResponse.TensorMetadata] = (OUTPUT,),
    sha256: str | None = None,
    name: str = "cloud",
    preprocessing: str | None = None,
) -> Describe:
    """A signature for whoever asks for model ``name``, with the digests that there are."""

    def metadata(request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        if request.name != name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name!r}, there is {name!r}")
        digests = {MODEL_SHA256: sha256, PREPROCESSING_SHA256: preprocessing}
        context.set_trailing_metadata(tuple((key, value) for key, value in digests.items() if value))
        return pb.ModelMetadataResponse(name=name, versions=["1"], inputs=inputs, outputs=outputs)

    return metadata


class Streams:
    """Triton's streams, each answered in order by ``infer``; an answer may be changed before it leaves."""

    def __init__(self, infer: Infer = surer, change: Callable[[bytes], bytes] = bytes) -> None:
        self.opened = self.asked = 0
        self.infer, self.change = infer, change
        self.refuse: grpc.StatusCode | None = None
        """How to end every stream before it has begun."""

    def __call__(self, requests: Iterator[pb.ModelInferRequest], context: Context) -> Iterator[bytes]:
        self.opened += 1
        if self.refuse:
            context.abort(self.refuse, "no streams today")
        for request in requests:
            self.asked += 1
            answer = pb.ModelStreamInferResponse()
            answer.infer_response.ParseFromString(self.infer(request, context))
            answer.infer_response.id = request.id
            yield self.change(answer.SerializeToString())


@contextmanager
def cloud(
    infer: Infer = surer,
    described: Describe | None = None,
    *,
    sha256: str | None = None,
    port: int = 0,
    streams: Streams | None = None,
) -> Iterator[int]:
    """A server of one model while inside; gives its port. On leaving it drops what is under way."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(
            _signed(infer, sha256), pb.ModelInferRequest.FromString
        ),
        "ModelMetadata": grpc.unary_unary_rpc_method_handler(
            described or describe(sha256=sha256),
            pb.ModelMetadataRequest.FromString,
            pb.ModelMetadataResponse.SerializeToString,
        ),
    }
    if streams:
        said = pb.ServerMetadataResponse(extensions=[STREAMING]).SerializeToString()
        handlers["ServerMetadata"] = grpc.unary_unary_rpc_method_handler(lambda _, __: said)
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            streams, pb.ModelInferRequest.FromString
        )
    with ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        bound = server.add_insecure_port(f"{HOST}:{port}")
        server.start()
        try:
            yield bound
        finally:
            server.stop(None).wait()


def _signed(infer: Infer, sha256: str | None) -> Infer:
    """As our own server does: every answer says which model gave it."""

    def signed(request: pb.ModelInferRequest, context: Context) -> bytes:
        said = pb.ModelInferResponse()
        if sha256:
            said.parameters[MODEL_SHA256].string_param = sha256
        return infer(request, context) + said.SerializeToString()

    return signed


def numbers(*values: float) -> Tensor:
    """One sample with its batch axis."""
    return np.array([values], np.float32)
