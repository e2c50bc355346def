"""MLServer's client over gRPC: its stubs, and its converters to and from its own types."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import checks
import grpc
import numpy as np
from checks import check, refused, same
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest, Parameters, RequestInput, RequestOutput

channel = grpc.insecure_channel(checks.target())
stub = GRPCInferenceServiceStub(channel)


def given(name: str, array: np.ndarray, datatype: str = "FP32") -> Any:
    """Its codec would give a plain row of numbers a second axis."""
    return RequestInput(name=name, shape=list(array.shape), datatype=datatype, data=array.ravel().tolist())


def asked(model: str, *inputs: Any, raw: bool = True, **more: Any) -> Any:
    request = InferenceRequest(inputs=list(inputs), **more)
    message = converters.ModelInferRequestConverter.from_types(request, model, use_raw=raw)
    return converters.ModelInferResponseConverter.to_types(stub.ModelInfer(message))


def output(answer: Any, decode: Callable[[Any], Any] = NumpyCodec.decode_output) -> Any:
    return decode(answer.outputs[0])


@check(1)
def health() -> None:
    same(
        [stub.ServerLive(pb.ServerLiveRequest()).live, stub.ServerReady(pb.ServerReadyRequest()).ready],
        [True] * 2,
    )


@check(2)
def ready() -> None:
    same([stub.ModelReady(pb.ModelReadyRequest(name=it)).ready for it in ("cloud", "absent")], [True, False])


@check(3)
def server() -> None:
    found = converters.ServerMetadataResponseConverter.to_types(
        stub.ServerMetadata(pb.ServerMetadataRequest())
    )
    same(found.name, "tidegate")


@check(4)
def metadata() -> None:
    message = stub.ModelMetadata(pb.ModelMetadataRequest(name="cloud"))
    found = converters.ModelMetadataResponseConverter.to_types(message)
    same([found.inputs[0].name, found.inputs[0].datatype], ["x", "FP32"])


@check(5)
def infer() -> None:
    same(output(asked("cloud", given("x", checks.ROWS))), 10 * checks.ROWS)


@check(6)
def infer_typed() -> None:
    same(output(asked("cloud", given("x", checks.ROWS), raw=False)), 10 * checks.ROWS)


@check(7)
def outputs() -> None:
    one = np.ones(2, np.float32)
    answer = asked("arithmetic", given("a", one), given("b", one), outputs=[RequestOutput(name="sum")])
    same(output(answer), one + one)
    same(len(answer.outputs), 1)


@check(8)
def text() -> None:
    texts = [it.decode() for it in checks.TEXT]
    answer = asked("text", RequestInput(name="x", shape=[2], datatype="BYTES", data=texts))
    same(output(answer, StringCodec.decode_output), texts)


@check(9)
def image() -> None:
    image = RequestInput(name="x", shape=[1], datatype="BYTES", data=list(checks.jpeg()))
    same(output(asked("colour", image)).round(-1), checks.GREEN)


@check(10)
def half() -> None:
    same(output(asked("half", given("x", checks.HALVES, "FP16"))), checks.HALVES)


@check(12)
def request_id() -> None:
    same(asked("cloud", given("x", checks.ROWS), id="seven").id, "seven")


@check(13)
def schedule() -> None:
    said = Parameters(priority=1, timeout=10_000_000)
    same(output(asked("cloud", given("x", checks.ROWS), parameters=said)), 10 * checks.ROWS)


@check(14)
def together() -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: asked("cloud", given("x", number * checks.ROWS)), range(16)))
    for number, answer in enumerate(answers):
        same(output(answer), number * 10 * checks.ROWS)


@check(18)
def refusal() -> None:
    with refused(grpc.RpcError):
        asked("cloud", given("x", np.zeros((1, 4), np.float32)))


checks.main()
