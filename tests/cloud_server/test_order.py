"""In which order calls that wait are answered, seen from outside: by priority, and fairly among callers."""

from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np

from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.pems import Pems, trust
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.test_overload import value

MANY = 12


def brief(priority: int = 0) -> pb.ModelInferRequest:
    """Some tens of milliseconds of work."""
    request = codec.request("counting", {"n": np.array([100_000])})
    if priority:
        request.parameters["priority"].int64_param = priority
    return request


def under_way(running: Any) -> float:
    """Calls."""
    return value(running, "tidegate_requests_in_flight") or 0.0


def place(running: Any, crowd: grpc.Channel, last: grpc.Channel, *, request: Any, crowds: Any) -> int:
    """How many of the crowd are answered before who comes last."""
    answered = deque[str]()

    def ask(channel: grpc.Channel, name: str, message: pb.ModelInferRequest) -> Any:
        call = GRPCInferenceServiceStub(channel).ModelInfer.future(message)
        call.add_done_callback(lambda _: answered.append(name))
        return call

    calls = [ask(crowd, "crowd", crowds) for _ in range(MANY)]
    assert wait_until(lambda: under_way(running) >= MANY - len(answered), PATIENCE)
    calls.append(ask(last, "last", request))
    assert all(call.result(PATIENCE).outputs for call in calls)
    assert wait_until(lambda: len(answered) == MANY + 1, PATIENCE)
    return answered.index("last")


def test_the_urgent_do_not_wait_behind_others(serve: Serve, models: dict[str, Path]) -> None:
    with (
        serve(models["counting"], server__threads=1) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        assert place(running, channel, channel, request=brief(), crowds=brief(5)) <= MANY // 2
        assert place(running, channel, channel, request=brief(1), crowds=brief()) <= MANY // 2
        assert place(running, channel, channel, request=brief(2), crowds=brief()) == MANY
        assert place(running, channel, channel, request=brief(5), crowds=brief()) == MANY


def test_who_asks_for_little_does_not_wait_behind_who_asks_for_much(
    serve: Serve, models: dict[str, Path], tmp_path: Path
) -> None:
    pems = Pems.made(tmp_path)
    with serve(models["counting"], tls=pems.tls(), server__threads=1) as running:
        flood, light = (
            grpc.secure_channel(running.address, trust(pems.ca, *pems.issue(name))) for name in "ab"
        )
        with flood, light:
            assert place(running, flood, light, request=brief(), crowds=brief()) <= MANY // 2
            assert place(running, flood, flood, request=brief(), crowds=brief()) == MANY


def codes(channel: grpc.Channel, count: int) -> Counter[str]:
    """How so many calls end, one after the other."""
    ask = GRPCInferenceServiceStub(channel).ModelInfer
    return Counter(ask.future(brief()).code().name for _ in range(count))


def test_who_asks_for_little_finds_a_place_where_a_flood_has_taken_all(
    serve: Serve, models: dict[str, Path], tmp_path: Path
) -> None:
    pems, over = Pems.made(tmp_path), Event()
    with (
        serve(models["counting"], tls=pems.tls(), server__threads=1, server__queue=8) as running,
        ThreadPoolExecutor(30) as pool,
    ):
        flood, light = (
            grpc.secure_channel(running.address, trust(pems.ca, *pems.issue(name))) for name in "ab"
        )

        def pour() -> Counter[str]:
            found = Counter[str]()
            while not over.is_set():
                found += codes(flood, 1)
            return found

        with flood, light:
            pouring = [pool.submit(pour) for _ in range(30)]
            assert wait_until(lambda: under_way(running) >= 9, PATIENCE)
            try:
                assert codes(light, 20) == {"OK": 20}
            finally:
                over.set()
            poured = sum((it.result(PATIENCE) for it in pouring), Counter[str]())
        assert poured["RESOURCE_EXHAUSTED"] > poured["OK"] > 0
