"""More is asked than can be answered: refused at once, unread, and those who are let in are answered."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from math import inf
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.backoff import PAUSE
from cloud_server.calls.door import PUSHBACK, Door
from cloud_server.calls.hall import Hall
from cloud_server.calls.handlers import Handlers
from cloud_server.errors import Late, Overloaded
from cloud_server.inference.call import Call
from cloud_server.metrics import Meter
from cloud_server.server import Running
from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.batches import beside, look_up, watched, work
from tests.cloud_server.conftest import Serve
from tests.cloud_server.test_batching import ask, fresh, held, queued
from tests.cloud_server.test_rest import ask as post
from tests.cloud_server.test_rest import free_port
from tests.cloud_server.test_streaming import Stream

health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
ROW = codec.request("cloud", {"x": np.ones((1, 3), np.float32)})
ENDLESS = codec.request("counting", {"n": np.array([10**12])})
FULL = 3
"""One that runs, two that wait."""


@contextmanager
def full(serve: Serve, models: dict[str, Path], **more: object) -> Iterator[tuple[Running, grpc.Channel]]:
    """A server that has as many calls as it takes."""
    flags: dict[str, object] = {"server__threads": 1, "server__queue": FULL - 1, "server__grace": 0}
    with (
        serve(models["cloud"], models["counting"], **flags, **more) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        busy = [stub.ModelInfer.future(ENDLESS) for _ in range(FULL)]
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == FULL, 20)
        yield running, channel
        for call in busy:
            call.cancel()


def value(running: Running, metric: str, **labels: str) -> float | None:
    return running.meter.registry.get_sample_value(metric, labels)


def test_one_too_many_is_refused_unread_and_told_when_to_come_back(
    serve: Serve, models: dict[str, Path]
) -> None:
    with full(serve, models) as (running, channel):
        read = value(running, "tidegate_request_payload_bytes_total", direction="received")
        stub: Any = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="requests are waiting") as caught:
            stub.ModelInfer(ROW, timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        said: Any = caught.value.trailing_metadata()
        assert int(dict(said)[PUSHBACK]) >= 1000 * PAUSE
        assert value(running, "tidegate_request_payload_bytes_total", direction="received") == read
        assert value(running, "tidegate_shed_requests_total", reason="queue") == 1
        refused = {"method": "ModelInfer", "code": "RESOURCE_EXHAUSTED"}
        assert value(running, "tidegate_requests_total", **refused) == 1


def test_a_stream_is_told_the_same_and_goes_on(serve: Serve, models: dict[str, Path]) -> None:
    with full(serve, models) as (_, channel):
        opened = Stream(channel)
        for _ in range(2):
            answer = opened.ask(ROW)
            assert answer.error_message.startswith("RESOURCE_EXHAUSTED: ")
            assert int(answer.infer_response.parameters[PUSHBACK].string_param) >= 1000 * PAUSE
        opened.end()


def test_over_http_it_is_503_and_retry_after(serve: Serve, models: dict[str, Path]) -> None:
    port = free_port()
    with full(serve, models, rest__port=port):
        body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
        status, found, headers = post(f"127.0.0.1:{port}", "v2/models/cloud/infer", body)
        assert (status, "requests are waiting" in found["error"]) == (503, True)
        assert int(headers["retry-after"]) >= 1


def test_who_asks_whether_we_are_alive_does_not_wait(serve: Serve, models: dict[str, Path]) -> None:
    with full(serve, models) as (_, channel):
        stub: Any = GRPCInferenceServiceStub(channel)
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        assert check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=20).live
        assert stub.ModelReady(pb.ModelReadyRequest(name="cloud"), timeout=20).ready


def test_once_there_is_room_all_is_as_before(serve: Serve, models: dict[str, Path]) -> None:
    brief = codec.request("counting", {"n": np.array([100_000])})
    with (
        serve(models["cloud"], models["counting"], server__threads=1, server__queue=2) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        codes = [call.code() for call in [stub.ModelInfer.future(brief) for _ in range(12)]]
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) >= FULL
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 0, 20)
        assert stub.ModelInfer(ROW, timeout=20).outputs


def test_a_turn_that_would_come_too_late_is_refused_at_once(tmp_path: Path) -> None:
    model, session = watched(look_up(tmp_path / "look_up.onnx"))
    turns = fresh()
    first = held(session, turns, model)
    (second,) = queued(turns, model, ([1], {}))
    model.sizing.seconds = 100.0
    with pytest.raises(Late) as caught:
        ask(turns, model, [2], deadline=time.monotonic() + 50)
    assert caught.value.pushback
    assert caught.value.pushback >= 100
    third = beside(partial(ask, turns, model, [3], deadline=time.monotonic() + 200))
    assert wait_until(lambda: len(turns._line.jobs) == 2, 20)
    session.free.set()
    assert [it().outputs["y"].tolist() for it in (first, second, third)] == [[0], [1], [9]]
    assert [2] not in session.runs


def test_a_late_one_that_is_urgent_is_not_late(tmp_path: Path) -> None:
    model, session = watched(look_up(tmp_path / "look_up.onnx"))
    turns = fresh()
    held(session, turns, model)
    queued(turns, model, ([1], {"priority": 1}))
    model.sizing.seconds = 100.0
    urgent = beside(partial(ask, turns, model, [2], deadline=time.monotonic() + 50))
    assert wait_until(lambda: len(turns._line.jobs) == 2, 20)
    session.free.set()
    assert urgent().outputs["y"].tolist() == [4]


class Busy:
    """A hall with so many calls inside, which would take one more so long."""

    def __init__(self, inside: int, wait: float) -> None:
        self.inside, self.wait = inside, wait


class Inside:
    """A call that is being answered, until this is left."""

    def __init__(self, handlers: Handlers) -> None:
        self._go = Event()
        self._call = handlers.submit(self._go.wait, 30)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._call.result(30)


@pytest.mark.parametrize(
    ("inside", "wait", "left", "found"),
    [
        (9, 0.0, inf, type(None)),
        (10, 0.0, inf, Overloaded),
        (9, 0.6, 1.0, Overloaded),
        (9, 0.4, 1.0, type(None)),
        (9, 60.0, inf, type(None)),
        (1, 60.0, 1.0, type(None)),
    ],
)
def test_the_door_asks_whether_there_is_room_and_time(
    inside: int, wait: float, left: float, found: type
) -> None:
    door: Any = Door(Busy(inside, wait), 2, 10, Meter())  # type: ignore[arg-type] # as much as is asked of it
    for _ in range(9):
        door.hear(left)
    door.hear(0.001)  # one in a hurry does not close the door to all
    closed: Any = door.closed()
    pushback = closed.pushback if closed else inf
    assert pushback >= max(PAUSE, wait)
    assert isinstance(closed, found)


def test_threads_at_work_are_as_many_as_are_wanted() -> None:
    go, started = Event(), deque[int]()

    def work(number: int) -> int:
        started.append(number)
        go.wait(30)
        return number

    hall = Hall[Any](2)
    with Handlers(8, hall) as handlers:
        calls = [handlers.submit(work, number) for number in range(5)]
        assert wait_until(lambda: len(started) == 2, 20)
        assert len(hall) == 5
        hall.wanted = 8
        calls.append(handlers.submit(work, 5))
        assert wait_until(lambda: len(started) == 3, 20)
        go.set()
        assert [call.result(30) for call in calls] == list(range(6))
        assert list(started)[:2] == [0, 1]
        assert wait_until(lambda: len(hall) == 0, 20)


def test_a_bad_moment_does_not_close_the_door_for_good() -> None:
    hall = Hall[Any](1)
    with Handlers(1, hall) as handlers:
        door = Door(hall, 0, 100, Meter())
        door.hear(1.0)
        hall._pace = 60.0
        with Inside(handlers):
            assert door.closed()
        for _ in range(100):
            handlers.submit(int).result(30)
        with Inside(handlers):
            assert not door.closed()


def test_a_call_that_fails_takes_no_thread_with_it() -> None:
    with Handlers(1, Hall(1)) as handlers:
        calls = [handlers.submit(lambda: 1 // 0) for _ in range(3)]
        wait(calls, 30)
        assert [type(call.exception()) for call in calls] == [ZeroDivisionError] * 3
        assert handlers.submit(lambda: 1).result(30) == 1


def test_where_several_ask_all_are_read(tmp_path: Path) -> None:
    model, session = watched(look_up(tmp_path / "look_up.onnx"))
    turns = fresh()
    held(session, turns, model)
    queued(turns, model, ([1], {}), ([2], {}))
    assert not turns._line.mixed
    beside(partial(turns.run, work(model, [3]), Call(identity="other")))
    assert wait_until(lambda: turns._line.mixed, 20)
    session.free.set()
