"""Triton's streams: by its own client, and by hand where a client must misbehave."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.calls import streaming
from deploy.demo.processes import wait_until
from protos import artifact, codec
from protos import inference_pb2 as pb
from protos.identity import MODEL_SHA256
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve

triton = pytest.importorskip("tritonclient.grpc")

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
ROW = np.ones((1, 3), np.float32)


class Stream:
    """An open stream, bytes in."""

    def __init__(self, channel: grpc.Channel, seconds: float = 30) -> None:
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        parse = pb.ModelStreamInferResponse.FromString
        multicallable: Any = channel.stream_stream(METHOD, None, parse)
        self.call = multicallable(iter(self._requests.get, None), timeout=seconds)

    def ask(self, request: Any) -> pb.ModelStreamInferResponse:
        message = request if isinstance(request, bytes) else request.SerializeToString()
        self._requests.put(message)
        answer: pb.ModelStreamInferResponse = next(self.call)
        return answer

    def end(self) -> None:
        self._requests.put(None)


@contextmanager
def stream(channel: grpc.Channel) -> Iterator[Stream]:
    opened = Stream(channel)
    try:
        yield opened
    finally:
        opened.end()
        opened.call.cancel()


def good(request_id: str = "") -> pb.ModelInferRequest:
    return codec.request("cloud", {"x": ROW}, request_id=request_id)


def test_an_independent_client_gets_every_answer_under_its_id(running: Any) -> None:
    answers: SimpleQueue[Any] = SimpleQueue()
    with triton.InferenceServerClient(running.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for index in range(20):
            x = triton.InferInput("x", [1, 3], "FP32").set_data_from_numpy(index * ROW)
            client.async_stream_infer("cloud", [x], request_id=str(index))
        found = [answers.get(timeout=10) for _ in range(20)]
        client.stop_stream()
    for index, (result, error) in enumerate(found):
        assert error is None
        assert result.get_response().id == str(index)
        assert result.as_numpy("logits").tolist() == [[10 * index] * 3]


def test_every_answer_names_its_model(channel: grpc.Channel, models: dict[str, Path]) -> None:
    with stream(channel) as opened:
        answer = opened.ask(good()).infer_response
    assert answer.parameters[MODEL_SHA256].string_param == artifact.digest(models["cloud"] / "model.onnx")
    assert "compute;dur=" in answer.parameters["server-timing"].string_param
    assert answer.parameters["triton_final_response"].bool_param


def test_an_error_is_one_requests_and_the_stream_goes_on(channel: grpc.Channel) -> None:
    with stream(channel) as opened:
        absent = opened.ask(codec.request("absent", {"x": ROW}, request_id="7"))
        assert (absent.error_message.partition(":")[0], absent.infer_response.id) == ("NOT_FOUND", "7")
        assert opened.ask(b"\xff").error_message.startswith("INVALID_ARGUMENT: ")
        hasty = good()
        hasty.id, hasty.parameters["priority"].int64_param = "8", -1
        refused = opened.ask(hasty)
        assert (refused.error_message.partition(":")[0], refused.infer_response.id) == (
            "INVALID_ARGUMENT",
            "8",
        )
        assert not opened.ask(good()).error_message


def test_a_request_that_is_over_is_not_run_and_the_stream_goes_on(channel: grpc.Channel) -> None:
    late = good()
    late.parameters["timeout"].uint64_param = 1
    with stream(channel) as opened:
        assert opened.ask(late).error_message.startswith("DEADLINE_EXCEEDED")
        assert not opened.ask(good()).error_message


def test_each_message_is_counted(serve: Serve, models: dict[str, Path]) -> None:
    def count(code: str) -> float | None:
        labels = {"method": "ModelStreamInfer", "code": code}
        return running.meter.registry.get_sample_value("tidegate_requests_total", labels)

    with serve(models["cloud"]) as running, grpc.insecure_channel(running.address) as channel:
        with stream(channel) as opened:
            for request in (good(), good(), codec.request("absent", {})):
                opened.ask(request)
        assert (count("OK"), count("NOT_FOUND")) == (2, 1)


def test_open_streams_hold_no_thread_of_single_calls(serve: Serve, models: dict[str, Path]) -> None:
    with (
        serve(models["cloud"], server__threads=1) as running,
        grpc.insecure_channel(running.address) as channel,
        stream(channel) as one,
        stream(channel) as other,
    ):
        assert not one.ask(good()).error_message
        assert not other.ask(good()).error_message
        assert GRPCInferenceServiceStub(channel).ModelInfer(good(), timeout=10).outputs


def test_a_stream_too_many_is_refused_at_once(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MOST", 1)
    with (
        serve(models["cloud"]) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        with stream(channel) as first:
            first.ask(good())
            with stream(channel) as second, pytest.raises(grpc.RpcError) as caught:
                second.ask(good())
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert not first.ask(good()).error_message
        assert wait_until(lambda: _answered(channel), 10)


def test_a_server_that_stops_ends_idle_streams_first(serve: Serve, models: dict[str, Path]) -> None:
    with serve(models["cloud"], server__grace=20) as running:
        channel = grpc.insecure_channel(running.address)
        opened = Stream(channel)
        opened.ask(good())
        began = time.monotonic()
    assert time.monotonic() - began < 20
    with pytest.raises((grpc.RpcError, StopIteration)):  # cancelled as it waited, or ended before it did
        opened.ask(good())
    opened.end()
    channel.close()


def _answered(channel: grpc.Channel) -> bool:
    with stream(channel) as opened:
        try:
            return not opened.ask(good()).error_message
        except grpc.RpcError:
            return False
