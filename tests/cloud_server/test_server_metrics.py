"""What is counted, against a real server, and how it is exposed."""

import subprocess
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.server import Running
from deploy.demo.processes import wait_until
from protos import artifact, codec
from protos.buckets import DURATION_BUCKETS
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.services import require

ROW = np.ones((1, 3), np.float32)


@pytest.fixture
def fresh(serve: Serve, models: dict[str, Path]) -> Iterator[Running]:
    """A server that nobody has called yet."""
    with serve(models["cloud"], models["counting"], server__grace=0) as running:
        yield running


@pytest.fixture
def connected(fresh: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(fresh.address) as channel:
        yield channel


def call(channel: grpc.Channel, method: str, message: bytes) -> Any:
    multicallable: Any = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    try:
        return multicallable(message, timeout=30)
    except grpc.RpcError as error:
        return error


def value(running: Running, metric: str, /, **labels: str) -> float | None:
    return running.meter.registry.get_sample_value(metric, labels)


def scrape(running: Running) -> str:
    with urllib.request.urlopen(running.metrics_url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_calls_are_counted_by_method_and_status(fresh: Running, connected: grpc.Channel) -> None:
    good = codec.request("cloud", {"x": ROW}).SerializeToString()
    for message in (good, good, b"\xff", codec.request("absent", {}).SerializeToString()):
        call(connected, "ModelInfer", message)
    counted = {
        code: value(fresh, "tidegate_requests_total", method="ModelInfer", code=code)
        for code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND")
    }
    assert counted == {"OK": 2, "INVALID_ARGUMENT": 1, "NOT_FOUND": 1}
    assert value(fresh, "tidegate_request_duration_seconds_count", method="ModelInfer") == 4
    assert value(fresh, "tidegate_model_inference_duration_seconds_count", model="cloud") == 2


def test_invented_methods_share_one_series(fresh: Running, connected: grpc.Channel) -> None:
    for number in range(20):
        call(connected, f"Method{number}", b"")
    assert value(fresh, "tidegate_requests_total", method="unknown", code="UNIMPLEMENTED") == 20
    assert "Method" not in scrape(fresh)


def test_messages_are_measured_to_the_byte(fresh: Running, connected: grpc.Channel) -> None:
    message = codec.request("cloud", {"x": ROW}).SerializeToString()
    answer = call(connected, "ModelInfer", message)
    assert value(fresh, "tidegate_request_payload_bytes_total", direction="received") == len(message)
    assert value(fresh, "tidegate_request_payload_bytes_total", direction="sent") == len(answer)


def test_a_call_under_way_is_in_flight(fresh: Running, connected: grpc.Channel) -> None:
    stub = GRPCInferenceServiceStub(connected)
    busy = stub.ModelInfer.future(codec.request("counting", {"n": np.array([10**12])}))
    assert wait_until(lambda: value(fresh, "tidegate_requests_in_flight") == 1, 10)
    busy.cancel()
    assert value(fresh, "tidegate_requests_total", method="ModelInfer", code="OK") is None


def test_the_models_and_the_build_are_named(fresh: Running, models: dict[str, Path]) -> None:
    facts = {"version": "1", "precision": "fp32", "sha256": artifact.digest(models["cloud"] / "model.onnx")}
    assert value(fresh, "tidegate_model_info", name="cloud", **facts) == 1
    assert value(fresh, "tidegate_build_info", version=version("tidegate")) == 1


def test_durations_have_the_buckets_of_the_edge(fresh: Running) -> None:
    lines = scrape(fresh).splitlines()
    prefix = 'tidegate_model_inference_duration_seconds_bucket{le="'
    bounds = [line.removeprefix(prefix).split('"')[0] for line in lines if line.startswith(prefix)]
    assert set(bounds) == {*map(str, DURATION_BUCKETS), "+Inf"}


def test_promtool_has_nothing_to_say(fresh: Running, connected: grpc.Channel) -> None:
    promtool = require("promtool")
    call(connected, "ModelInfer", codec.request("cloud", {"x": ROW}).SerializeToString())
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=scrape(fresh), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_where_the_time_went_how_many_samples_and_what_was_not_run(
    fresh: Running, connected: grpc.Channel
) -> None:
    batch = codec.request("cloud", {"x": np.ones((5, 3), np.float32)})
    call(connected, "ModelInfer", batch.SerializeToString())
    late = codec.request("cloud", {"x": ROW})
    late.parameters["timeout"].int64_param = 1  # microseconds
    assert call(connected, "ModelInfer", late.SerializeToString()).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert value(fresh, "tidegate_batch_size_sum", model="cloud") == 5
    for stage in ("compute_input", "queue", "compute_infer", "compute_output"):
        name = "tidegate_request_stage_duration_seconds_count"
        assert value(fresh, name, model="cloud", stage=stage) == 1
    assert value(fresh, "tidegate_shed_requests_total", reason="expired") == 1
