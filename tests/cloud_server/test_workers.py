"""Several processes on one port are one server: its figures, its models, its ends."""

import os
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client import Gauge

from cloud_server.inference.statistics import combined
from cloud_server.metrics import Meter
from cloud_server.server import Running
from cloud_server.workers import process as worker_process
from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from tests.cloud_server.conftest import Serve
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.workers import (
    CONNECTIONS,
    answered,
    connections,
    counting,
    is_alive,
    pids,
    total,
)
from tests.models import linear
from tests.ports import free_port

ONE = np.array([[1, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def pair(serve: Serve, models: dict[str, Path]) -> Iterator[Running]:
    """Two workers."""
    with serve(models["counting"], server__workers=2) as running:
        yield running


@contextmanager
def load(stubs: list[Any]) -> Iterator[tuple[list[None], list[grpc.RpcError]]]:
    """Calls over every connection at once while inside; those answered, and those that failed."""
    done, answers, failures = Event(), list[None](), list[grpc.RpcError]()

    def ask(stub: Any) -> None:
        while not done.is_set():
            try:
                stub.ModelInfer(counting(), timeout=60)
                answers.append(None)
            except grpc.RpcError as error:
                failures.append(error)

    with ThreadPoolExecutor(len(stubs)) as pool:
        asking = [pool.submit(ask, stub) for stub in stubs]
        try:
            yield answers, failures
        finally:
            done.set()
        for it in asking:
            it.result()


def more(answers: list[None], than: int = 200) -> bool:
    """Whether so many calls more are answered in time."""
    begun = len(answers)
    return wait_until(lambda: len(answers) > begun + than, 60)


def restored(running: Running, killed: int) -> bool:
    """Whether another worker takes the place of one that was killed."""
    return wait_until(lambda: killed not in pids(running) and len(ready(running)) == 2, 60)


def counted(running: Running, metric: str, expected: float) -> bool:
    """Soon: workers count what they have noted once a second."""
    return wait_until(lambda: total(running.meter.exposition().decode(), metric) == expected, 10)


def ready(running: Running) -> range:
    return range(int(total(running.meter.exposition().decode(), "tidegate_workers")))


def test_each_has_its_part_and_the_figures_are_of_all(pair: Running) -> None:
    before = total(pair.meter.exposition().decode(), "tidegate_requests_total")
    with connections(pair.address) as stubs:
        for stub in stubs:
            stub.ModelInfer(counting())
    assert min(answered(pair)) >= 4
    text = pair.meter.exposition().decode()
    assert total(text, "tidegate_requests_total") - before == CONNECTIONS
    assert counted(pair, "tidegate_request_duration_seconds_count", before + CONNECTIONS)
    assert total(text, "tidegate_workers") == 2
    assert total(text, "tidegate_model_info") == 1
    assert len(text.splitlines()) == len(set(text.splitlines()))


def test_statistics_are_of_all(pair: Running) -> None:
    with connections(pair.address) as stubs:
        request = pb.ModelStatisticsRequest(name="counting")
        before = stubs[0].ModelStatistics(request).model_stats[0].inference_count
        for stub in stubs:
            stub.ModelInfer(counting())
        found = [stub.ModelStatistics(request).model_stats[0].inference_count - before for stub in stubs]
    assert found == [CONNECTIONS] * CONNECTIONS


def test_one_killed_under_load_costs_no_call_of_a_client_that_retries(pair: Running) -> None:
    before, killed = total(pair.meter.exposition().decode(), "tidegate_requests_total"), pids(pair)[0]
    seen = []
    with connections(pair.address, 8, retry=True) as stubs, load(stubs) as (answers, failures):
        assert more(answers)
        os.kill(killed, signal.SIGKILL)
        while not restored(pair, killed):
            pass
        seen += [total(pair.meter.exposition().decode(), "tidegate_requests_total") for _ in range(3)]
        assert more(answers)
    text = pair.meter.exposition().decode()
    assert failures == []
    assert seen == sorted(seen)
    assert len(answers) <= total(text, "tidegate_requests_total") - before <= len(answers) + len(stubs)
    assert total(text, "tidegate_worker_restarts_total") >= 1
    assert counted(pair, "tidegate_requests_in_flight", 0)


def test_one_killed_under_load_costs_calls_without(pair: Running) -> None:
    killed = pids(pair)[0]
    with connections(pair.address, CONNECTIONS) as stubs, load(stubs) as (answers, failures):
        assert more(answers)
        os.kill(killed, signal.SIGKILL)
        assert wait_until(lambda: bool(failures), 60)
    assert {error.code() for error in failures} == {grpc.StatusCode.UNAVAILABLE}
    assert restored(pair, killed)


def test_cpu_time_outlives_who_used_it(pair: Running) -> None:
    def used() -> float:
        return total(pair.meter.exposition().decode(), "process_cpu_seconds_total")

    before, killed = used(), pids(pair)[0]
    os.kill(killed, signal.SIGKILL)
    seen = [before]
    while killed in pids(pair):
        seen.append(used())
    assert restored(pair, killed)
    seen.append(used())
    assert seen == sorted(seen)


def test_one_that_hangs_is_replaced(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "PATIENCE", 8.0)
    with serve(models["plain"], server__workers=2) as running:
        hung = pids(running)[1]
        os.kill(hung, signal.SIGSTOP)
        assert restored(running, hung)
        assert not is_alive(hung)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a model ``net`` that scales by its version."""
    add(tmp_path / "models", 1)
    add(tmp_path / "models", 1, "other")
    return tmp_path / "models"


def add(folder: Path, version: int, name: str = "net") -> None:
    model = linear(folder.parent / "new" / f"{name}{version}" / "model.onnx", scale=version)
    (folder / name).mkdir(parents=True, exist_ok=True)
    model.parent.rename(folder / name / str(version))


def says(stubs: list[Any]) -> set[float | grpc.StatusCode]:
    """Answers of ``net`` over all connections."""

    def ask(stub: Any) -> float | grpc.StatusCode:
        try:
            answer = stub.ModelInfer(codec.request("net", {"x": ONE}), timeout=60)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return float(codec.response_tensors(answer)["logits"][0, 0])

    return {ask(stub) for stub in stubs}


def test_a_model_loaded_through_one_is_loaded_in_all(serve: Serve, folder: Path) -> None:
    flags: dict[str, Any] = {"repository.path": str(folder), "repository.control": True}
    with serve(server__workers=2, **flags) as running, connections(running.address, retry=True) as stubs:
        assert running.models == ("net 1", "other 1")
        assert says(stubs) == {1}
        add(folder, 2)
        stubs[0].RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="net"))
        assert says(stubs) == {2}
        assert 'tidegate_model_info{name="net",' in running.meter.exposition().decode()
        (folder / "net" / "3").mkdir()
        (folder / "net" / "3" / "model.onnx").write_bytes(b"no model")
        with pytest.raises(grpc.RpcError, match="is no ONNX model") as caught:
            stubs[1].RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="net"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert says(stubs) == {2}
        with pytest.raises(grpc.RpcError, match="no model 'absent' in the repository"):
            stubs[1].RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="absent"))


def test_one_that_takes_anothers_place_serves_what_the_others_do(serve: Serve, folder: Path) -> None:
    flags: dict[str, Any] = {"repository.path": str(folder), "repository.control": True}
    with serve(server__workers=2, **flags) as running, connections(running.address, retry=True) as stubs:
        stubs[0].RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="net"))
        assert says(stubs) == {grpc.StatusCode.NOT_FOUND}
        assert 'tidegate_model_info{name="net",' not in running.meter.exposition().decode()
        killed = pids(running)[0]
        os.kill(killed, signal.SIGKILL)
        assert restored(running, killed)
        assert says(stubs) == {grpc.StatusCode.NOT_FOUND}
        add(folder, 2)
        assert running.reload
        running.reload()
        assert wait_until(lambda: says(stubs) == {2}, PATIENCE)


def test_statistics_add_up() -> None:
    one, other = pb.ModelStatistics(name="net", version="1"), pb.ModelStatistics()
    one.inference_count, one.last_inference, one.inference_stats.success.ns = 3, 70, 5
    one.batch_stats.add(batch_size=1).compute_infer.count = 3
    other.CopyFrom(one)
    other.last_inference = 60
    other.batch_stats.add(batch_size=2).compute_infer.count = 1
    both = combined([one, pb.ModelStatistics(), other])
    assert (both.name, both.inference_count, both.last_inference) == ("net", 6, 70)
    assert both.inference_stats.success.ns == 10
    assert {it.batch_size: it.compute_infer.count for it in both.batch_stats} == {1: 6, 2: 1}


def test_every_gauge_says_how_those_of_workers_make_one() -> None:
    """Else it would be exposed once a worker, by a label that nobody else has."""
    gauges = [it for it in vars(Meter()).values() if isinstance(it, Gauge)]
    assert gauges
    assert {it._multiprocess_mode for it in gauges} <= {"livesum", "livemax", "livemin"}


def test_rest_is_answered_by_each_too(serve: Serve, models: dict[str, Path]) -> None:
    port = free_port()
    with serve(models["plain"], server__workers=2, rest__port=port) as running:
        for _ in range(CONNECTIONS):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/plain", timeout=PATIENCE) as it:
                assert it.status == 200
        assert min(answered(running)) >= 4
        assert sum(answered(running)) == CONNECTIONS
