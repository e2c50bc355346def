"""Triton's extensions, by an independent client against a real server."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.inference.classification import classify
from cloud_server.server import Running
from protos import codec
from protos import inference_pb2 as pb
from tests.cloud_server.conftest import Serve

triton = pytest.importorskip("tritonclient.grpc")
service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")

ROWS = np.array([[1, 0, 0], [0, 2, 0]], np.float32)


@pytest.fixture
def client(running: Running) -> Iterator[Any]:
    with triton.InferenceServerClient(running.address) as client:
        yield client


def rows() -> Any:
    tensor = triton.InferInput("x", ROWS.shape, "FP32")
    tensor.set_data_from_numpy(ROWS)
    return tensor


def ask(**parameters: pb.InferParameter) -> pb.ModelInferRequest:
    request = codec.request("cloud", {"x": ROWS})
    for name, value in parameters.items():
        request.parameters[name].CopyFrom(value)
    return request


def fields(message: Any) -> set[tuple[Any, ...]]:
    return {(it.name, it.number, it.type, it.label) for it in message.fields}


def test_every_message_has_tritons_fields_and_numbers() -> None:
    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        theirs = service_pb2.DESCRIPTOR.message_types_by_name[name]
        assert fields(message) == fields(theirs), name


def test_the_index_lists_every_model(client: Any, models: dict[str, Path]) -> None:
    index = client.get_model_repository_index().models
    assert {(it.name, it.version, it.state) for it in index} == {(name, "1", "READY") for name in models}


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_models_that_are_named_one_by_one_stay(client: Any, call: str) -> None:
    with pytest.raises(triton.InferenceServerException, match=r"UNIMPLEMENTED.*needs a \[repository\]"):
        getattr(client, call)("cloud")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_model_config", ["cloud"]),
        ("get_trace_settings", []),
        ("get_log_settings", []),
        ("get_system_shared_memory_status", []),
        ("get_cuda_shared_memory_status", []),
    ],
)
def test_what_is_not_offered_says_so(client: Any, call: str, arguments: list[str]) -> None:
    with pytest.raises(triton.InferenceServerException, match="UNIMPLEMENTED"):
        getattr(client, call)(*arguments)


def test_server_metadata_name_the_extensions(client: Any) -> None:
    assert set(client.get_server_metadata().extensions) >= {"classification", "statistics"}


def test_statistics_count_samples_runs_and_where_time_went(serve: Serve, models: dict[str, Path]) -> None:
    with serve(models["cloud"]) as running, triton.InferenceServerClient(running.address) as client:
        began = time.time()
        for _ in range(3):
            client.infer("cloud", [rows()])
        ended = time.time()
        with pytest.raises(triton.InferenceServerException):
            client.infer("cloud", [])
        time.sleep(0.3)  # it counts later, and says when it was all the same
        (found,) = client.get_inference_statistics("cloud", "1").model_stats
        (all_of_them,) = client.get_inference_statistics().model_stats
    assert found == all_of_them
    assert (found.inference_count, found.execution_count) == (6, 3)
    assert began - 0.1 <= found.last_inference / 1000 <= ended + 0.1
    spent = found.inference_stats
    assert (spent.success.count, spent.fail.count, spent.queue.count) == (3, 1, 3)
    parts = [spent.queue, spent.compute_input, spent.compute_infer, spent.compute_output]
    assert 0 < sum(part.ns for part in parts) <= spent.success.ns
    assert [(it.batch_size, it.compute_infer.count) for it in found.batch_stats] == [(2, 3)]


def test_statistics_of_a_model_that_is_not_here(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="NOT_FOUND"):
        client.get_inference_statistics("absent")


def test_classification_has_values_indices_and_labels(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("logits", class_count=2)]
    answer = client.infer("cloud", [rows()], outputs=wanted)
    assert answer.as_numpy("logits").tolist() == [
        [b"10.000000:0:red", b"0.000000:1:green"],
        [b"20.000000:1:green", b"0.000000:0:red"],
    ]


@pytest.mark.parametrize(
    ("array", "count", "expected"),
    [
        (np.array([3, 9, 9], np.int64), 2, [b"9:1", b"9:2"]),
        (np.array([np.nan, -np.inf, 1], np.float32), 3, [b"1.000000:2", b"-inf:1", b"nan:0"]),
        (np.array([[1, 2]], np.uint8), 9, [[b"2:1", b"1:0"]]),
        (np.zeros((2, 0), np.float32), 3, [[], []]),
        (np.zeros((0, 3), np.float32), 3, []),
    ],
)
def test_the_best_classes(array: np.ndarray, count: int, expected: list[Any]) -> None:
    assert classify(array, count).tolist() == expected


def test_only_numbers_have_classes(stub: Any) -> None:
    request = codec.request("text", {"x": np.array([b"ebb"], object)})
    request.outputs.add(name="y").parameters["classification"].int64_param = 1
    refused(stub, request, grpc.StatusCode.INVALID_ARGUMENT, "output of numbers")


def test_priority_and_timeout_of_an_independent_client(client: Any) -> None:
    assert client.infer("cloud", [rows()], priority=1, timeout=30_000_000).as_numpy("logits") is not None


@pytest.mark.parametrize(
    "value",
    [
        pb.InferParameter(string_param="soon"),
        pb.InferParameter(bool_param=True),
        pb.InferParameter(int64_param=-1),
        pb.InferParameter(double_param=1.5),
        pb.InferParameter(uint64_param=2**64 - 1),
    ],
)
@pytest.mark.parametrize("name", ["timeout", "priority"])
def test_a_parameter_that_is_no_number_is_refused(stub: Any, name: str, value: pb.InferParameter) -> None:
    refused(stub, ask(**{name: value}), grpc.StatusCode.INVALID_ARGUMENT, f"parameter '{name}'")


def test_parameters_of_others_are_passed_over(stub: Any) -> None:
    assert stub.ModelInfer(ask(theirs=pb.InferParameter(string_param="x"), empty=pb.InferParameter())).outputs


def test_a_request_whose_timeout_is_over_is_not_run(serve: Serve, models: dict[str, Path]) -> None:
    def runs() -> float | None:
        name = "tidegate_model_inference_duration_seconds_count"
        return running.meter.registry.get_sample_value(name, {"model": "cloud"})

    with serve(models["cloud"]) as running, grpc.insecure_channel(running.address) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelInferResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            infer(ask(timeout=pb.InferParameter(int64_param=1)))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert runs() == 0
        infer(ask(timeout=pb.InferParameter(int64_param=0)))
        assert runs() == 1


def test_shared_memory_is_refused(stub: Any) -> None:
    request = ask()
    request.outputs.add(name="logits").parameters["shared_memory_region"].string_param = "theirs"
    refused(stub, request, grpc.StatusCode.UNIMPLEMENTED, "shares no memory")


def refused(stub: Any, request: pb.ModelInferRequest, status: grpc.StatusCode, reason: str) -> None:
    with pytest.raises(grpc.RpcError, match=reason) as caught:
        stub.ModelInfer(request)
    assert caught.value.code() is status
