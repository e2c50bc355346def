"""Callers that begin a call and do not send what it is about: they keep nobody else waiting."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest

from cloud_server.calls import arrivals
from cloud_server.server import Running
from deploy.demo.processes import wait_until
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.test_overload import ROW, value

health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
INFER = "/inference.GRPCInferenceService/ModelInfer"
METHODS = [
    *[f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ModelMetadata")],
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
]
MANY = 5
"""More than there are runs, or threads for any other call."""


@contextmanager
def silent(address: str, method: str, count: int = MANY) -> Iterator[list[Any]]:
    """So many calls whose message never comes, while inside."""
    end = Event()

    def never() -> Iterator[bytes]:
        end.wait()
        yield from ()

    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        begin: Any = channel.stream_unary(method)
        yield [begin.future(never()) for _ in range(count)]
        end.set()


def all_answer(running: Running) -> bool:
    """Each kind of call."""
    with grpc.insecure_channel(running.address) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        return bool(
            stub.ModelInfer(ROW, timeout=PATIENCE).outputs
            and stub.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE).live
            and stub.ModelMetadata(pb.ModelMetadataRequest(name="cloud"), timeout=PATIENCE).inputs
            and health.status == health_pb2.HealthCheckResponse.SERVING
        )


@pytest.mark.parametrize("method", [INFER, *METHODS])
def test_nobody_waits_for_who_is_silent(serve: Serve, models: dict[str, Path], method: str) -> None:
    with serve(models["cloud"], server__threads=1) as running, silent(running.address, method) as calls:
        if method == INFER:
            assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == MANY, PATIENCE)
        assert all_answer(running)
        assert not any(call.done() for call in calls)


def test_who_shows_nothing_is_refused_before_the_message(
    serve: Serve, models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    tokens = {"key": str(tmp_path / "secret"), "algorithm": "HS256"}
    with serve(models["cloud"], tokens=tokens) as running, silent(running.address, INFER) as calls:
        codes = [call.exception(PATIENCE).code() for call in calls]
        assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}
        refused = {"method": "ModelInfer", "code": "UNAUTHENTICATED"}
        assert value(running, "tidegate_requests_total", **refused) == MANY


def test_who_is_silent_for_too_long_is_refused_once_others_come(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE", 0.2)
    with serve(models["cloud"]) as running, silent(running.address, INFER, 1) as (call,):
        assert wait_until(lambda: all_answer(running) and call.done(), PATIENCE)
        assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert call.exception().details() == "the message took too long to come"
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 0, PATIENCE)
