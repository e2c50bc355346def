"""Health and reflection, by their own stubs; both must answer however busy inference is."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve

SERVING = health_pb2.HealthCheckResponse.SERVING
LISTING = reflection_pb2.ServerReflectionRequest(list_services="")


def check(channel: grpc.Channel, service: str = "") -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status


def reflect(channel: grpc.Channel, *requests: Any) -> list[Any]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    return list(stub.ServerReflectionInfo(iter(requests), timeout=10))


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "cloud", "plain"])
def test_the_server_its_service_and_each_model_are_serving(channel: grpc.Channel, service: str) -> None:
    assert check(channel, service) == SERVING


def test_the_health_of_a_model_that_is_not_here_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "absent")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_it_refuses_is_counted_as_refused(serve: Serve, models: dict[str, Path]) -> None:
    with serve(models["plain"]) as running, grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError):
            check(channel, "absent")
        counted = running.meter.registry.get_sample_value
        for code, count in (("NOT_FOUND", 1), ("OK", None)):
            assert counted("tidegate_requests_total", {"method": "Check", "code": code}) == count


def test_a_watcher_hears_that_the_server_stops(serve: Serve, models: dict[str, Path]) -> None:
    with serve(models["plain"], server__grace=0.5) as running:
        channel = grpc.insecure_channel(running.address)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="plain"))
        assert next(watch).status == SERVING
    with channel:
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_reflection_lists_every_service(channel: grpc.Channel) -> None:
    (answer,) = reflect(channel, LISTING)
    assert {service.name for service in answer.list_services_response.service} == {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize(
    ("symbol", "service"),
    [
        ("inference.ModelInferRequest", "GRPCInferenceService"),
        ("grpc.health.v1.Health", "Health"),
    ],
)
def test_reflection_describes_every_service(channel: grpc.Channel, symbol: str, service: str) -> None:
    (answer,) = reflect(channel, reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
    described = FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
    assert [it.name for it in described.service] == [service]


def test_probes_do_not_wait_behind_inference(serve: Serve, models: dict[str, Path]) -> None:
    with (
        serve(models["counting"], server__threads=1, server__grace=0) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        endless = codec.request("counting", {"n": np.array([10**12])})
        busy = GRPCInferenceServiceStub(channel).ModelInfer.future(endless)
        assert check(channel) == SERVING
        assert reflect(channel, LISTING)
        assert not busy.done()


def test_open_reflection_streams_hold_no_inference_thread(serve: Serve, models: dict[str, Path]) -> None:
    with (
        serve(models["plain"], server__threads=1, server__grace=0) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        endless = iter(lambda: LISTING, None)
        first = stub.ServerReflectionInfo(endless)
        assert next(first)  # it holds the one thread now
        waiting = [stub.ServerReflectionInfo(endless) for _ in range(2)]
        assert not any(stream.done() for stream in (first, *waiting))
        assert GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), timeout=10).live
