"""How several processes on one port begin, and how they end."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.demo.processes import wait_until
from protos import codec
from tests.cloud_server.process import PATIENCE, Process, finished, started
from tests.cloud_server.workers import connections, counting, is_alive, total

TWO = {"TIDEGATE_SERVER__WORKERS": "2"}
EIGHT = {"TIDEGATE_SERVER__THREADS": "8"}
A_WHILE, FOR_EVER = 6_000_000, 10**12


def workers(process: Process) -> list[int]:
    """Its children."""
    threads = Path(f"/proc/{process.popen.pid}/task").glob("*/children")
    return [int(pid) for thread in threads for pid in thread.read_text().split()]


def under_way(process: Process, stubs: list[Any], until: int) -> list[Any]:
    """Calls over every connection."""
    calls = [stub.ModelInfer.future(counting(until)) for stub in stubs]

    def begun() -> bool:
        return total("\n".join(process.metrics()) + "\n", "tidegate_requests_in_flight") >= len(calls)

    assert wait_until(begun, PATIENCE)
    return calls


def gone(pids: list[int]) -> bool:
    return wait_until(lambda: not any(map(is_alive, pids)), PATIENCE)


def test_calls_under_way_complete_in_every_worker(tmp_path: Path, models: dict[str, Path]) -> None:
    with (
        started(tmp_path, models["counting"], **TWO, **EIGHT, TIDEGATE_SERVER__GRACE="100") as process,
        connections(process.address, 4) as stubs,
        grpc.insecure_channel(process.address) as channel,
    ):
        assert process.ready.endswith("models: counting 1, 2 workers\n")
        pids = workers(process)
        assert len(pids) == 2
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        calls = under_way(process, stubs, A_WHILE)
        process.popen.send_signal(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
        assert [codec.response_tensors(call.result(100))["y"] for call in calls] == [[A_WHILE]] * len(calls)
        assert process.popen.wait(PATIENCE) == 0
        assert gone(pids)
        assert "Traceback" not in process.log.read_text()


def test_a_second_signal_ends_all_at_once(tmp_path: Path, models: dict[str, Path]) -> None:
    with (
        started(tmp_path, models["counting"], **TWO, **EIGHT, TIDEGATE_SERVER__GRACE="3600") as process,
        connections(process.address, 2) as stubs,
    ):
        pids = workers(process)
        under_way(process, stubs, FOR_EVER)
        process.popen.terminate()
        assert wait_until(lambda: "draining" in process.log.read_text(), PATIENCE)
        process.popen.terminate()
        assert process.popen.wait(PATIENCE) == -signal.SIGTERM
        assert gone(pids)


def test_no_worker_outlives_its_supervisor(tmp_path: Path, models: dict[str, Path]) -> None:
    with started(tmp_path, models["plain"], **TWO) as process:
        pids = workers(process)
        process.popen.kill()
        assert gone(pids)


def test_one_that_cannot_start_ends_all(tmp_path: Path, models: dict[str, Path]) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    ended = finished(["run", models["plain"], tmp_path / "bad.onnx", "--port", "0"], **TWO)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"cloud-server: model {tmp_path}/bad.onnx: ")


def test_when_none_can_be_replaced_all_ends_with_the_reason(tmp_path: Path, models: dict[str, Path]) -> None:
    model = tmp_path / "plain.onnx"
    model.write_bytes(models["plain"].read_bytes())
    with started(tmp_path, model, **TWO) as process:
        model.write_bytes(b"no model")
        for pid in workers(process):
            os.kill(pid, signal.SIGKILL)
        assert process.popen.wait(60) == 2
        assert "cloud-server: model " in process.log.read_text()


def bare(port: int) -> socket.socket:
    """Somebody else who would like to have it."""
    return socket.create_server(("127.0.0.1", port))


@pytest.mark.parametrize("workers_of_it", ["1", "3"])
def test_a_second_server_gets_no_part_of_the_port(
    tmp_path: Path, models: dict[str, Path], workers_of_it: str
) -> None:
    with started(tmp_path, models["plain"], **TWO) as process:
        port = process.address.rpartition(":")[2]
        ended = finished(
            ["run", models["plain"], "--port", port],
            TIDEGATE_SERVER__WORKERS=workers_of_it,
            TIDEGATE_METRICS__PORT="0",
        )
        assert ended.returncode == 2
        assert f"[server] 127.0.0.1:{port}: address already in use" in ended.stderr
        with pytest.raises(OSError, match="in use"):
            bare(int(port))


def test_nor_do_workers_get_a_part_of_somebody_elses(models: dict[str, Path]) -> None:
    """Not even of one who would share it."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as holder:
        port = str(holder.getsockname()[1])
        ended = finished(["run", models["plain"], "--port", port], **TWO)
    assert ended.returncode == 2
    assert "address already in use" in ended.stderr
