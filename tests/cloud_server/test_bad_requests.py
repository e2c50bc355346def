"""Whatever a caller sends: a status with the reason, never INTERNAL, and the server lives."""

from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_server.inference.inputs import MOST_IMAGES, most_images
from cloud_server.server import Running
from protos import codec
from protos import inference_pb2 as pb
from protos.artifact import ImageInput
from tests.cloud_server.hostile import NOISE, PNG, ROW, Input, nearly_right, wild

REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
}
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def request(model: str = "cloud", **tensors: np.ndarray) -> pb.ModelInferRequest:
    return codec.request(model, tensors)


def raw(model: str, datatype: str, shape: list[int], content: bytes) -> pb.ModelInferRequest:
    x = Input(name="x", datatype=datatype, shape=shape)
    return pb.ModelInferRequest(model_name=model, inputs=[x], raw_input_contents=[content])


def typed(datatype: str, shape: list[int], model: str = "cloud", **contents: Any) -> pb.ModelInferRequest:
    x = Input(name="x", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents))
    return pb.ModelInferRequest(model_name=model, inputs=[x])


def wanting(*names: str) -> pb.ModelInferRequest:
    message = request(x=ROW)
    for name in names:
        message.outputs.add(name=name)
    return message


def twice() -> pb.ModelInferRequest:
    message = request("arithmetic", a=np.ones(1, np.float32), b=np.ones(1, np.float32))
    message.inputs[1].name = "a"
    return message


def both() -> pb.ModelInferRequest:
    message = typed("FP32", [1, 3], fp32_contents=[1, 2, 3])
    message.raw_input_contents.append(ROW.tobytes())
    return message


def images(*encoded: bytes) -> pb.ModelInferRequest:
    return request("colour", x=np.array(encoded, object))


BAD = {
    "no tensor": (request(), "inputs [], expected ['x']"),
    "wrong name": (request(y=ROW), "inputs ['y'], expected ['x']"),
    "one too many": (request(x=ROW, y=ROW), "inputs ['x', 'y'], expected ['x']"),
    "wrong datatype": (request(x=ROW.astype("f8")), "input 'x': datatype FP64, expected FP32"),
    "wrong size": (request(x=np.ones((1, 4), "f4")), "input 'x': shape [1, 4], expected [-1, 3]"),
    "wrong rank": (request(x=np.ones(3, "f4")), "input 'x': shape [3], expected [-1, 3]"),
    "NaN": (request(x=ROW * np.nan), "input 'x': holds NaN or infinity"),
    "infinity": (request(x=ROW * np.inf), "input 'x': holds NaN or infinity"),
    "unknown datatype": (raw("cloud", "FP31", [1, 3], b""), "datatype FP31, expected FP32"),
    "too short": (raw("cloud", "FP32", [1, 3], bytes(11)), "11 raw bytes, FP32 of shape [1, 3] needs 12"),
    "negative size": (raw("cloud", "FP32", [-1, 3], bytes(12)), "negative dimension in shape [-1, 3]"),
    "overflow": (raw("cloud", "FP32", [2**62, 3], bytes(12)), "needs 55340232221128654848"),
    "both contents": (both(), "has both raw and typed contents"),
    "typed, too few": (typed("FP32", [1, 3], fp32_contents=[1]), "1 elements, shape [1, 3] needs 3"),
    "typed, other field": (typed("FP32", [1, 3], int_contents=[1, 2, 3]), "0 elements"),
    "typed half": (typed("FP16", [1], model="half"), "FP16 can only travel as raw contents"),
    "an input twice": (twice(), "inputs ['a', 'a'], expected ['a', 'b']"),
    "an output twice": (
        wanting("logits", "logits"),
        "outputs ['logits', 'logits'], expected each once at most of ['logits']",
    ),
    "unknown output": (wanting("labels"), "no output ['labels'], the model has ['logits']"),
    "torn text": (raw("text", "BYTES", [1], b"\x05\0\0\0ab"), "runs past the end"),
    "not UTF-8": (request("text", x=np.array([b"\xff"], object)), "a BYTES element is not UTF-8"),
    "no image": (images(b"no image"), "neither a JPEG nor a PNG"),
    "half an image": (images(NOISE[: len(NOISE) // 2]), "image cannot be decoded"),
    "no images at all": (images(), "BYTES of shape [0], expected [n], 1 to 32 images"),
    "too many images": (images(*[PNG] * (MOST_IMAGES + 1)), "BYTES of shape [33], expected [n]"),
    "images to numbers": (request(x=np.array([PNG], object)), "datatype BYTES, expected FP32"),
    "sizes that do not fit": (
        request("arithmetic", a=np.ones(2, "f4"), b=np.ones(3, "f4")),
        "the model cannot run on these inputs, of shape {'a': [2], 'b': [3]}",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tensors_are_refused_with_the_reason(stub: Any, case: str) -> None:
    message, reason = BAD[case]
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in str(caught.value.details())


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("absent", "", "no model 'absent' is served: the repository's index "),
        ("cloud", "2", "model 'cloud' has versions ['1'], not '2'"),
    ],
)
def test_an_unknown_model_is_not_found(stub: Any, name: str, version: str, reason: str) -> None:
    calls = {
        stub.ModelInfer: pb.ModelInferRequest(model_name=name, model_version=version),
        stub.ModelMetadata: pb.ModelMetadataRequest(name=name, version=version),
    }
    for call, message in calls.items():
        with pytest.raises(grpc.RpcError) as caught:
            call(message)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert reason in str(caught.value.details())


def test_a_very_long_reason_still_arrives(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(pb.ModelInferRequest(model_name="ä" * 1_000_000))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_message_larger_than_any_model_needs_is_refused(channel: grpc.Channel, running: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelInfer", bytes(running.repository.request_bytes + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(("size", "most"), [(8, 32), (224, 32), (1024, 21), (4096, 1)])
def test_how_many_images_a_call_may_bring_follows_their_size(size: int, most: int) -> None:
    assert most_images(ImageInput(size=size)) == most


def test_a_large_message_of_many_parts_is_not_even_parsed(channel: grpc.Channel) -> None:
    for part in (b"\x2a\0", b"\x32\0", b"\x3a\0"):
        with pytest.raises(grpc.RpcError, match="more than 4096 parts") as caught:
            call(channel, "ModelInfer", part * (1 << 20))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError, match="no model ''"):
        call(channel, "ModelInfer", b"\x3a\0" * 1000)


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelDream", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("unary_stream", "/grpc.health.v1.Health/Watch"),
        ("stream_stream", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    ],
)
def test_garbage_in_a_stream_that_is_not_inference(channel: grpc.Channel, kind: str, method: str) -> None:
    call = getattr(channel, kind)(method)
    with pytest.raises(grpc.RpcError) as caught:
        next(call(iter([b"\xff"]) if kind == "stream_stream" else b"\xff", timeout=20))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@FUZZ
@given(st.one_of(nearly_right(), wild).map(pb.ModelInferRequest.SerializeToString))
def test_any_request_is_answered_or_refused(channel: grpc.Channel, message: bytes) -> None:
    answered_or_refused(channel, message)


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(channel: grpc.Channel, message: bytes) -> None:
    answered_or_refused(channel, message)


def answered_or_refused(channel: grpc.Channel, message: bytes) -> None:
    try:
        call(channel, "ModelInfer", message)
    except grpc.RpcError as error:
        refusal: Any = error
        assert refusal.code() in REFUSALS, refusal
        assert refusal.details()


def call(channel: grpc.Channel, method: str, message: bytes) -> bytes:
    multicallable: Any = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    answer: bytes = multicallable(message, timeout=30)
    return answer
