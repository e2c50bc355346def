"""Calls answered by the threads that take them off the wire: none mixed up, none left, none unheard."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.calls import front, interceptors, lookout, streaming
from cloud_server.calls.interceptors import INFER
from cloud_server.calls.lookout import Lookout
from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.test_overload import ENDLESS, ROW, full, value
from tests.cloud_server.test_streaming import stream


def row(number: int) -> pb.ModelInferRequest:
    return codec.request("cloud", {"x": np.full((1, 3), number, np.float32)}, request_id=str(number))


def is_own(answer: pb.ModelInferResponse, number: int) -> bool:
    (logits,) = codec.response_tensors(answer).values()
    return answer.id == str(number) and logits.tolist() == [[10 * number] * 3]


def wires() -> list[str]:
    """Names of threads that look."""
    return [it.name for it in threading.enumerate() if it.name.startswith("wire")]


def test_each_gets_its_own_answer_whichever_way_it_asks(serve: Serve, models: dict[str, Path]) -> None:
    with serve(models["cloud"]) as running, grpc.insecure_channel(running.address) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)

        def single(numbers: range) -> bool:
            return all(is_own(stub.ModelInfer(row(it), timeout=30), it) for it in numbers)

        def streamed(numbers: range) -> bool:
            with stream(channel) as opened:
                return all(is_own(opened.ask(row(it)).infer_response, it) for it in numbers)

        def other(numbers: range) -> bool:
            names = (stub.ModelMetadata(pb.ModelMetadataRequest(name="cloud"), timeout=30) for _ in numbers)
            return all(it.name == "cloud" for it in names)

        with ThreadPoolExecutor(12) as pool:
            asked = [
                pool.submit(how, range(start, start + 100))
                for start in range(0, 1200, 300)
                for how in (single, streamed, other)
            ]
            assert all(it.result(120) for it in asked)


def test_whoever_goes_leaves_nothing_behind(serve: Serve, models: dict[str, Path]) -> None:
    """Calls cut off at any moment: none is counted as under way any more, and the server stops at once."""
    chance, before = random.Random(7), len(wires())
    with serve(models["cloud"], server__grace=60) as running:
        with grpc.insecure_channel(running.address) as channel:
            stub: Any = GRPCInferenceServiceStub(channel)
            for _ in range(40):
                calls = [stub.ModelInfer.future(ROW, timeout=chance.uniform(1e-4, 5e-3)) for _ in range(12)]
                calls += [stub.ModelStreamInfer(iter([ROW] * 3), timeout=chance.uniform(1e-4, 5e-3))]
                for call in chance.sample(calls, 6):
                    call.cancel()
                for call in calls:
                    with suppress(grpc.RpcError, grpc.FutureCancelledError):
                        call.code()
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 0, 20)
        with grpc.insecure_channel(running.address) as channel:
            assert is_own(GRPCInferenceServiceStub(channel).ModelInfer(row(3), timeout=20), 3)
    assert wait_until(lambda: len(wires()) <= before, 20)


def test_who_left_the_line_is_passed_over(serve: Serve, models: dict[str, Path]) -> None:
    brief = codec.request("counting", {"n": np.array([1_000_000])})
    with (
        serve(models["cloud"], models["counting"], server__threads=1, server__queue=8) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        first = stub.ModelInfer.future(brief)
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 1, 20)
        gone = [stub.ModelInfer.future(ROW) for _ in range(4)]
        last = stub.ModelInfer.future(row(5))
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 6, 20)
        for call in gone:
            call.cancel()
        assert first.result(60).outputs
        assert is_own(last.result(60), 5)
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 0, 20)
        assert value(running, "tidegate_requests_total", method="ModelInfer", code="OK") == 2


@pytest.mark.parametrize(
    ("patience", "outcome"), [(lookout.PATIENCE, nullcontext()), (10.0, pytest.raises(grpc.RpcError))]
)
def test_while_all_are_at_work_somebody_still_looks(
    serve: Serve,
    models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
    outcome: AbstractContextManager[object],
) -> None:
    """Control: with more patience nobody does."""
    timeout = 20 if patience == lookout.PATIENCE else 2
    monkeypatch.setattr(lookout, "PATIENCE", patience)
    with (
        serve(models["counting"], server__threads=1, server__grace=0) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub: Any = GRPCInferenceServiceStub(channel)
        busy = stub.ModelInfer.future(ENDLESS)
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 1, 20)
        with outcome:
            assert stub.ServerLive(pb.ServerLiveRequest(), timeout=timeout).live
        busy.cancel()


def test_a_single_call_without_a_message(running: Any) -> None:
    with grpc.insecure_channel(running.address) as channel:
        ask: Any = channel.stream_unary(INFER)
        with pytest.raises(grpc.RpcError, match="to have one message") as caught:
            ask(iter(()), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_fault_of_ours_is_a_status_and_no_silence(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(models["cloud"]) as running, grpc.insecure_channel(running.address) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        with monkeypatch.context() as patched:
            for module in (interceptors, streaming):
                patched.setattr(module, "Called", lambda *_: 1 // 0)
            with pytest.raises(grpc.RpcError, match="see the server's log") as caught:
                stub.ModelInfer(ROW, timeout=20)
            with stream(channel) as opened, pytest.raises(grpc.RpcError, match="see the server's log"):
                opened.ask(ROW)
        assert is_own(stub.ModelInfer(row(2), timeout=20), 2)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "could not be answered" in caplog.text


def test_what_is_not_begun_here_goes_its_own_way() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    echo: Any = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", {"Echo": echo}),))
    port = server.add_insecure_port("127.0.0.1:0")
    front.start(server, lambda *_: None, 1, lambda _: None)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary("/a.Service/Echo")
        assert ask(b"hello", timeout=20) == b"hello"
    server.stop(None).wait()


class TestUnknownGrpcio:
    """As if its server were made otherwise: calls go its own way, and all is as ever but slower."""

    @pytest.fixture(autouse=True)
    def unknown(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        monkeypatch.setitem(sys.modules, "cloud_server.calls.polling", None)
        before = len(wires())
        yield
        assert len(wires()) <= before
        assert "is none that we know: calls take longer" in caplog.get_records("call")[0].getMessage()

    def test_single_calls_and_streams(self, serve: Serve, models: dict[str, Path]) -> None:
        with serve(models["cloud"]) as running, grpc.insecure_channel(running.address) as channel:
            assert is_own(GRPCInferenceServiceStub(channel).ModelInfer(row(4), timeout=20), 4)
            with stream(channel) as opened:
                answers = [opened.ask(row(number)).infer_response for number in range(3)]
                garbage = opened.ask(b"\xff")
            assert all(map(is_own, answers, range(3)))
            assert garbage.error_message

    def test_one_too_many(self, serve: Serve, models: dict[str, Path]) -> None:
        with full(serve, models) as (running, channel):
            with pytest.raises(grpc.RpcError, match="requests are waiting"):
                GRPCInferenceServiceStub(channel).ModelInfer(ROW, timeout=20)
            assert value(running, "tidegate_shed_requests_total", reason="queue") == 1


@pytest.mark.parametrize("ask", [Lookout.require, Lookout.alert])
def test_who_asks_for_it_sees_to_it_that_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Lookout], None]
) -> None:
    """Going to wait, or turning others away."""
    monkeypatch.setattr(lookout, "PATIENCE", 60.0)
    free, looked = Event(), SimpleQueue[int]()

    def look() -> None:
        looked.put(0)
        with out:
            asked.wait(20)
            ask(out)
            free.wait(20)

    asked, out = Event(), Lookout(look, 1)
    out.start()
    looked.get(timeout=20)
    time.sleep(0.1)
    assert looked.empty()
    asked.set()
    looked.get(timeout=20)
    free.set()
    out.end()
