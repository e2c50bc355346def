"""Requests share runs, and nobody hears of it: whoever waits with whom, each gets the answer to its own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event, Semaphore
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from cloud_server.errors import BadInput, Expired, Gone
from cloud_server.inference.call import Call
from cloud_server.inference.model import Done, Model
from cloud_server.inference.turns import Turns
from cloud_server.room import Room
from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.batches import TABLE, Watched, beside, look_up, watched, work
from tests.cloud_server.conftest import Serve

BAD = 100
"""No number that the model knows."""
BEGAN = 0


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return look_up(tmp_path_factory.mktemp("batching") / "look_up.onnx")


@pytest.fixture(scope="session")
def shared(path: Path) -> tuple[Model, Watched]:
    return watched(path)


def fresh(runs: int = 1) -> Turns:
    return Turns(runs, lambda _model, _run: None, Room(1000))


def ask(turns: Turns, model: Model, numbers: list[int], **call: Any) -> Done:
    return turns.run(work(model, numbers), Call(**call))


def in_line(turns: Turns, count: int) -> bool:
    return wait_until(lambda: len(turns._line.jobs) == count, 20)


def queued(turns: Turns, model: Model, *asked: tuple[list[int], dict[str, Any]]) -> list[Callable[[], Any]]:
    """Requests that wait behind a run that is held, in this order."""
    waits = []
    for count, (numbers, call) in enumerate(asked, 1):
        waits.append(beside(partial(ask, turns, model, numbers, **call)))
        assert in_line(turns, count)
    return waits


def held(session: Watched, turns: Turns, model: Model) -> Callable[[], Any]:
    """A run that has begun and does not end."""
    session.runs.clear()
    session.free.clear()
    first = beside(partial(ask, turns, model, [BEGAN]))
    assert wait_until(lambda: session.runs == [[BEGAN]], 20)
    return first


requests = some.lists(
    some.tuples(
        some.lists(some.integers(1, 99), min_size=1, max_size=9),
        some.sampled_from(["good", "good", "good", "bad", "gone", "expired"]),
        some.integers(1, 2),
        some.sampled_from([None, "a", "b"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(requests, some.integers(1, 3))
def test_each_gets_its_own_answer(shared: tuple[Model, Watched], asked: list[Any], runs: int) -> None:
    model, session = shared
    turns, alive = fresh(runs), True
    holds = [held(session, turns, model)]
    holds += [beside(partial(ask, turns, model, [BEGAN])) for _ in range(runs - 1)]
    assert wait_until(lambda: len(session.runs) == runs, 20)
    calls = [
        {"priority": priority, "identity": identity} | ({"alive": lambda: alive} if fate == "gone" else {})
        for _, fate, priority, identity in asked
    ]
    waits = queued(
        turns,
        model,
        *[
            ([BAD, *numbers] if fate == "bad" else numbers, call)
            for (numbers, fate, *_), call in zip(asked, calls, strict=True)
        ],
    )
    alive = False
    in_order = sorted(turns._line.jobs, key=lambda job: job.order[2])
    for job, (_, fate, *_) in zip(in_order, asked, strict=True):
        if fate == "expired":
            job.call = replace(job.call, deadline=0.0)
    session.free.set()
    for wait, (numbers, fate, *_) in zip(waits, asked, strict=True):
        found = wait()
        if fate == "good":
            assert found.outputs["y"].tolist() == TABLE[numbers].tolist()
        else:
            assert type(found) is {"bad": BadInput, "gone": Gone, "expired": Expired}[fate]
    assert all(hold().outputs["y"].tolist() == [0] for hold in holds)
    ran = {number for run in session.runs for number in run} - {BEGAN, BAD}
    assert ran == {number for numbers, fate, *_ in asked if fate in ("good", "bad") for number in numbers}
    assert session.most_at_once <= 3


def test_those_who_wait_share_a_run_as_far_as_they_fit(shared: tuple[Model, Watched]) -> None:
    model, session = shared
    turns = fresh()
    held(session, turns, model)
    waits = queued(turns, model, *[([number] * 3, {}) for number in (1, 2, 3)], ([4], {}))
    session.free.set()
    assert [wait().outputs["y"][0] for wait in waits] == [1, 4, 9, 16]
    assert session.runs[1:] == [[1, 1, 1, 2, 2, 2, 4], [3, 3, 3]]


def test_a_bad_one_spoils_nothing(shared: tuple[Model, Watched]) -> None:
    model, session = shared
    turns = fresh()
    held(session, turns, model)
    good, bad, other = queued(turns, model, ([1], {}), ([BAD], {}), ([2], {}))
    session.free.set()
    assert [good().outputs["y"].tolist(), other().outputs["y"].tolist()] == [[1], [4]]
    assert isinstance(bad(), BadInput)
    assert session.runs[1:] == [[1, BAD, 2], [1], [BAD], [2]]


def test_a_request_alone_waits_for_nobody(shared: tuple[Model, Watched]) -> None:
    model, session = shared
    session.runs.clear()
    assert ask(fresh(), model, [7]).outputs["y"] == [49]
    assert session.runs == [[7]]


def test_a_run_that_may_wait_is_shared_by_those_who_come(path: Path) -> None:
    model, session = watched(path, delay=20.0)
    turns = fresh(2)
    waits = [beside(partial(ask, turns, model, [number] * 4)) for number in (1, 2)]
    assert sorted(wait().outputs["y"][0] for wait in waits) == [1, 4]
    assert [sorted(run) for run in session.runs] == [[1] * 4 + [2] * 4]


def test_the_urgent_go_first(shared: tuple[Model, Watched]) -> None:
    model, session = shared
    turns = fresh()
    held(session, turns, model)
    asked = [([1] * 8, {"priority": 4}), ([2] * 8, {}), ([3] * 8, {"priority": 3})]
    waits = queued(turns, model, *asked)
    session.free.set()
    for wait in waits:
        wait()
    assert [run[0] for run in session.runs] == [BEGAN, 2, 3, 1]


def test_who_asks_for_much_does_not_go_before_who_asks_for_little(shared: tuple[Model, Watched]) -> None:
    model, session = shared
    turns = fresh()
    held(session, turns, model)
    greedy = [([number] * 8, {"identity": "greedy"}) for number in (1, 2, 3, 4)]
    modest = [([number] * 8, {"identity": "modest"}) for number in (11, 12)]
    waits = queued(turns, model, *greedy, *modest)
    session.free.set()
    for wait in waits:
        wait()
    assert [run[0] for run in session.runs[1:]] == [1, 11, 2, 12, 3, 4]


def test_an_hour_that_ends_in_line_ends_the_wait(
    shared: tuple[Model, Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, session = shared
    turns, waits = fresh(), Event()
    held(session, turns, model)
    turns.waits = waits.set
    monkeypatch.setattr("cloud_server.inference.turns.time", SimpleNamespace(monotonic=lambda: 0.0))
    found = beside(partial(ask, turns, model, [1], deadline=0.5))  # from when it waits, however late that is
    assert isinstance(found(), Expired)
    assert waits.is_set()
    session.free.set()
    assert session.runs == [[BEGAN]]


def test_runs_at_once_are_bounded(path: Path) -> None:
    model, session = watched(path, most=1)
    turns = fresh(2)
    session.free.clear()
    waits = [beside(partial(ask, turns, model, [number])) for number in range(6)]
    assert in_line(turns, 4)
    session.free.set()
    assert [wait().outputs["y"].tolist() for wait in waits] == [[number**2] for number in range(6)]
    assert session.most_at_once == 2


def test_statistics_count_runs_and_not_requests(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = codec.request("cloud", {"x": np.ones((1, 3), np.float32)})
    slow = codec.request("counting", {"n": np.array([1])})
    in_line, wait = Semaphore(0), Turns._wait

    def waiting(turns: Turns, job: Any) -> Any:
        in_line.release()
        return wait(turns, job)

    monkeypatch.setattr(Turns, "_wait", waiting)
    with (
        serve(models["cloud"], models["counting"], server__threads=1) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        for _ in range(16):  # the size of one is known, that of two is tried
            stub.ModelInfer(row)
        runs, free = _held(running.repository.get("counting"))
        blocking = stub.ModelInfer.future(slow)
        assert runs.wait(20)
        calls = [stub.ModelInfer.future(row) for _ in range(2)]
        assert all(in_line.acquire(timeout=20) for _ in calls)
        free.set()
        for call in calls:
            assert call.result().outputs
        blocking.result()
        (found,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="cloud")).model_stats
    assert (found.inference_count, found.execution_count, found.inference_stats.success.count) == (18, 17, 18)
    assert [(it.batch_size, it.compute_infer.count) for it in found.batch_stats] == [(1, 16), (2, 1)]


def _held(model: Any) -> tuple[Event, Event]:
    """The first is set once it runs; set the second to let it."""
    began, free, session = Event(), Event(), model.runs._session

    def run(*arguments: Any) -> Any:
        began.set()
        free.wait(20)
        return session.run(*arguments)

    model.runs._session = SimpleNamespace(run=run)
    return began, free
