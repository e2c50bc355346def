"""Requests whose runs would never end: nobody else is kept from an answer by them."""

import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.errors import Expired, Gone, RequestError, Stopping
from cloud_server.inference import runs
from cloud_server.inference.call import Call
from cloud_server.inference.runs import Runs, Watchdog
from cloud_server.inference.session import open_session
from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.batches import beside
from tests.cloud_server.conftest import Serve
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.test_overload import ROW
from tests.cloud_server.test_streaming import Stream

ENDLESS = codec.request("counting", {"n": np.array([2**62])})


@pytest.mark.parametrize("way", ["deadline", "cancel", "parameter"])
def test_what_nobody_waits_for_is_ended(serve: Serve, models: dict[str, Path], way: str) -> None:
    with (
        serve(models["cloud"], models["counting"], server__threads=1) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        if way == "parameter":
            stream, request = Stream(channel), pb.ModelInferRequest.FromString(ENDLESS.SerializeToString())
            request.parameters["timeout"].int64_param = 500_000
            assert stream.ask(request).error_message.startswith("DEADLINE_EXCEEDED: ")
            stream.end()
        else:
            call = stub.ModelInfer.future(ENDLESS, timeout=0.5 if way == "deadline" else None)
            if way == "cancel":
                time.sleep(0.5)
                call.cancel()
        assert stub.ModelInfer(ROW, timeout=PATIENCE).outputs


def test_and_what_takes_too_long_although_somebody_waits(serve: Serve, models: dict[str, Path]) -> None:
    with (
        serve(models["cloud"], models["counting"], server__threads=1, loading__deadline=4) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="no run may take 4 s") as caught:
            stub.ModelInfer(ENDLESS, timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert stub.ModelInfer(ROW, timeout=PATIENCE).outputs


@pytest.mark.parametrize(
    ("call", "longest", "found"),
    [
        (Call(), 0.0, Expired),
        (Call(deadline=0.0), 1e9, Expired),
        (Call(alive=lambda: False), 1e9, Gone),
    ],
)
def test_why_it_was_ended(
    models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    longest: float,
    found: type[RequestError],
) -> None:
    monkeypatch.setattr(runs, "LOOK", 0.01)
    under_way = Runs(open_session(models["counting"]), longest)
    with Watchdog(under_way):
        ended = beside(lambda: under_way.run(["y"], {"n": np.array([2**62])}, (call,)))()
    assert type(ended) is found


def test_who_shares_a_run_with_somebody_who_waits_is_not_the_end_of_it(models: dict[str, Path]) -> None:
    under_way = Runs(open_session(models["counting"]), 1e9)
    calls = (Call(deadline=0.0), Call())
    wait = beside(lambda: under_way.run(["y"], {"n": np.array([2**62])}, calls))
    assert wait_until(lambda: bool(under_way._under_way), PATIENCE)
    time.sleep(2 * runs.LOOK)
    under_way.look()
    assert under_way._under_way
    assert not any(options.terminate for options in under_way._under_way)
    under_way.stop()
    assert type(wait()) is Stopping
    assert type(beside(lambda: under_way.run(["y"], {"n": np.array([1])}, calls))()) is Stopping
