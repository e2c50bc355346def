"""More is asked than can be answered: refused at once, unread, and those who are let in are answered."""

import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.backoff import PAUSE
from cloud_server.calls.arrivals import MOMENT, Arrivals
from cloud_server.calls.arrivals import PATIENCE as LONGEST
from cloud_server.calls.door import PUSHBACK, Door
from cloud_server.calls.hall import Hall
from cloud_server.calls.handlers import Handlers
from cloud_server.errors import Late, Overloaded
from cloud_server.metrics import Meter
from cloud_server.room import Room
from cloud_server.server import Running
from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.batches import beside, look_up, watched
from tests.cloud_server.conftest import Serve
from tests.cloud_server.test_batching import ask, fresh, held, queued
from tests.cloud_server.test_rest import ask as post
from tests.cloud_server.test_streaming import Stream
from tests.ports import free_port

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
    queued(turns, model, ([1], {"priority": 3}))
    model.sizing.seconds = 100.0
    urgent = beside(partial(ask, turns, model, [2], deadline=time.monotonic() + 50))
    assert wait_until(lambda: len(turns._line.jobs) == 2, 20)
    session.free.set()
    assert urgent().outputs["y"].tolist() == [4]


class Busy(Room):
    """A room with so many calls inside, which would take one more so long."""

    def __init__(self, inside: int, wait: float) -> None:
        super().__init__(10)
        self._wait = wait
        for _ in range(inside):
            self.enter(None)

    def wait(self, _: str | None) -> float:
        return self._wait


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
    door: Any = Door(Busy(inside, wait), 2, Meter())
    for _ in range(9):
        door.hear(left)
    door.hear(0.001)  # one in a hurry does not close the door to all
    closed: Any = door.closed(None)
    pushback = closed.pushback if closed else inf
    assert pushback >= max(PAUSE, wait)
    assert isinstance(closed, found)


def test_of_a_kind_as_many_are_answered_as_are_wanted() -> None:
    room = Room(100)
    hall, mine, other = Hall[int](2, room), ("a", 0), ("b", 0)
    for who in "aaaaaaab":
        room.enter(who)
    for number in range(6):
        assert list(hall.enter(number, mine)) == ([(number, mine)] if number < 2 else [])
    assert [*hall.leave(mine), *hall.leave(mine)] == [(2, mine), (3, mine)]
    assert hall.enter(6, other) == [(4, mine), (5, mine), (6, other)], "nobody waits behind others"
    hall.wanted = 1
    assert list(hall.enter(7, mine)) == []
    assert [list(hall.leave(mine)) for _ in range(3)] == [[], [], [(7, mine)]]
    assert [list(hall.leave(kind)) for kind in (mine, other, mine)] == [[], [], []]
    assert len(hall) == room.inside == 0


def test_a_bad_moment_does_not_close_the_door_for_good() -> None:
    room = Room(100)
    door = Door(room, 0, Meter())
    door.hear(1.0)
    room._pace = 60.0
    room.enter(None)
    assert door.closed(None)
    for _ in range(100):
        room.leave(None)
        room.enter(None)
    assert not door.closed(None)


def test_how_long_one_waits_is_learnt_from_how_fast_they_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, room = Clock(), Room(1000, 2)
    monkeypatch.setattr("cloud_server.room.time.perf_counter", clock)
    for _ in range(200):
        room.enter("flood")
    for _ in range(150):
        clock.now += 0.1
        room.leave("flood")
    assert room.wait("flood") == pytest.approx(50 * 0.1, rel=0.05)
    assert room.wait("other") == pytest.approx(2 * 0.1, rel=0.05)


def test_who_has_little_inside_finds_room_where_another_has_taken_all() -> None:
    room = Room(8)
    for _ in range(8):
        assert not room.full("flood")
        room.enter("flood")
    assert room.full("flood")
    for _ in range(4):
        assert not room.full("other")
        room.enter("other")
    assert room.full("other")
    for number in range(4):
        room.enter(str(number))
    assert all(map(room.full, ("flood", "other", "0", "newcomer"))), "there is never twice as many"
    for _ in range(8):
        room.leave("flood")
    assert not room.full("newcomer")


class Clock:
    """A clock that somebody sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_call_that_is_slow_to_come_has_no_place_in_the_room() -> None:
    clock, room = Clock(), Room(8)
    arrivals = Arrivals[str](room, 2, clock)
    assert not arrivals.expect("slow", "a")
    clock.now = MOMENT / 2
    assert not arrivals.expect("soon", "a")
    assert (room.inside, len(arrivals)) == (2, 2)
    clock.now = MOMENT * 1.2
    assert not arrivals.expect("later", "b")
    assert (room.inside, len(arrivals)) == (2, 3)
    assert arrivals.arrived("soon")
    assert arrivals.arrived("slow")
    assert not arrivals.arrived("slow")
    assert (room.inside, len(arrivals)) == (3, 1)


def test_of_those_that_are_slow_to_come_the_oldest_are_let_go() -> None:
    clock, room = Clock(), Room(8)
    arrivals = Arrivals[int](room, 2, clock)
    for number in range(4):
        clock.now = number
        assert list(arrivals.expect(number, None)) == ([0] if number == 3 else [])
    assert not arrivals.arrived(0)
    clock.now = 2 + LONGEST
    assert list(arrivals.expect(4, None)) == [1]
    assert arrivals.arrived(2)
    assert arrivals.arrived(4)


def test_threads_of_another_server_are_counted() -> None:
    room = Room(8)
    with Handlers(1, room) as handlers:
        calls = [handlers.submit(lambda: room.inside // 0) for _ in range(3)]
        wait(calls, 30)
        assert [type(call.exception()) for call in calls] == [ZeroDivisionError] * 3
        assert handlers.submit(lambda: room.inside).result(30) == 1
    assert room.inside == 0
