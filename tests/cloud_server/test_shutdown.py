"""SIGTERM drains; a second one does not wait; nothing outlives the grace."""

import asyncio
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import uvicorn
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.process import PATIENCE, Process, started
from tests.cloud_server.test_rest import ask
from tests.ports import free_port

A_WHILE, FOR_EVER = 8_000_000, 10**12
"""Microseconds of counting, about."""


def count(process: Process, channel: grpc.Channel, until: int) -> Any:
    """A call under way."""
    request = codec.request("counting", {"n": np.array([until])})
    call = GRPCInferenceServiceStub(channel).ModelInfer.future(request)
    assert wait_until(lambda: "tidegate_requests_in_flight 1.0" in process.metrics(), PATIENCE)
    return call


def is_live(channel: grpc.Channel) -> bool:
    try:
        live: bool = GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), timeout=5).live
    except grpc.RpcError as error:
        refusal: Any = error
        assert refusal.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        return False
    return live


def is_open(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except ConnectionError:
        return False
    return True


def counted(address: str, until: int) -> tuple[int, Any, dict[str, str]]:
    """A call over HTTP."""
    n = {"name": "n", "shape": [1], "datatype": "INT64", "data": [until]}
    return ask(address, "v2/models/counting/infer", {"inputs": [n]})


def terminate(process: Process) -> None:
    """SIGTERM, and wait until it was heard."""
    process.popen.send_signal(signal.SIGTERM)
    assert wait_until(lambda: "draining" in process.log.read_text(), PATIENCE)


def test_an_idle_server_stops_at_once_and_in_peace(tmp_path: Path, models: dict[str, Path]) -> None:
    with started(tmp_path, models["plain"]) as process:
        terminate(process)
        assert process.popen.wait(PATIENCE) == 0
        assert "Traceback" not in process.log.read_text()


def test_a_call_under_way_completes_and_new_ones_are_refused(tmp_path: Path, models: dict[str, Path]) -> None:
    with (
        started(
            tmp_path, models["counting"], TIDEGATE_SERVER__THREADS="2", TIDEGATE_SERVER__GRACE="100"
        ) as process,
        grpc.insecure_channel(process.address) as channel,
        grpc.insecure_channel(process.address) as other,
    ):
        health = health_pb2_grpc.HealthStub(other).Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        call = count(process, channel, A_WHILE)
        process.popen.send_signal(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
        assert wait_until(lambda: not is_live(other), PATIENCE)
        assert not call.done()
        assert codec.response_tensors(call.result())["y"] == [A_WHILE]
        assert process.popen.wait(PATIENCE) == 0


def test_both_skins_drain_at_the_same_time(tmp_path: Path, models: dict[str, Path]) -> None:
    port = str(free_port())
    rest, environ = f"127.0.0.1:{port}", {"TIDEGATE_REST__PORT": port, "TIDEGATE_SERVER__THREADS": "2"}
    with (
        started(tmp_path, models["counting"], **environ, TIDEGATE_SERVER__GRACE="60") as process,
        grpc.insecure_channel(process.address) as channel,
        grpc.insecure_channel(process.address) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        health = health_pb2_grpc.HealthStub(other).Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        call = count(process, channel, A_WHILE)
        posted = pool.submit(counted, rest, A_WHILE)
        assert wait_until(lambda: "tidegate_requests_in_flight 2.0" in process.metrics(), PATIENCE)
        process.popen.send_signal(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
        assert wait_until(lambda: not is_live(other) and not is_open(rest), PATIENCE)
        assert not posted.done()
        assert not call.done()
        assert codec.response_tensors(call.result())["y"] == [A_WHILE]
        assert posted.result(PATIENCE)[1]["outputs"][0]["data"] == [A_WHILE]
        assert process.popen.wait(PATIENCE) == 0


def test_http_says_that_it_is_not_ready_before_it_refuses(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, said = free_port(), list[tuple[int, Any, dict[str, str]]]()
    stop = uvicorn.Server.shutdown

    async def shutdown(server: uvicorn.Server, sockets: Any) -> None:
        said.append(await asyncio.to_thread(ask, f"127.0.0.1:{port}", "v2/health/ready"))
        await stop(server, sockets)

    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    with serve(models["plain"], rest__port=port):
        assert ask(f"127.0.0.1:{port}", "v2/health/ready")[0] == 200
    ((status, found, _),) = said
    assert (status, found) == (404, {"error": "it is not ready"})


def test_no_call_over_http_outlives_the_grace(tmp_path: Path, models: dict[str, Path]) -> None:
    port = str(free_port())
    environ = {"TIDEGATE_REST__PORT": port, "TIDEGATE_SERVER__GRACE": "0.2"}
    with started(tmp_path, models["counting"], **environ) as process, ThreadPoolExecutor(1) as pool:
        posted = pool.submit(counted, f"127.0.0.1:{port}", FOR_EVER)
        assert wait_until(lambda: "tidegate_requests_in_flight 1.0" in process.metrics(), PATIENCE)
        terminate(process)
        assert process.popen.wait(PATIENCE) == 0
        status, found, _ = posted.result(PATIENCE)
        assert (status, found) == (503, {"error": "the server stops: ask again, or another one"})
        assert "Traceback" not in process.log.read_text()


def test_no_call_outlives_the_grace(tmp_path: Path, models: dict[str, Path]) -> None:
    with (
        started(tmp_path, models["counting"], TIDEGATE_SERVER__GRACE="0.2") as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        call = count(process, channel, FOR_EVER)
        terminate(process)
        assert process.popen.wait(PATIENCE) == 0
        assert call.exception(PATIENCE).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_second_signal_does_not_wait(tmp_path: Path, models: dict[str, Path]) -> None:
    with (
        started(tmp_path, models["counting"], TIDEGATE_SERVER__GRACE="3600") as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        count(process, channel, FOR_EVER)
        terminate(process)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(PATIENCE) == -signal.SIGTERM
