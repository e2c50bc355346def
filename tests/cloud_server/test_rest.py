"""The protocol over HTTP: by an independent client, and by hand where a client must misbehave."""

import gzip
import json
import socket
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_server.errors import ListenError, TooLarge
from cloud_server.rest import app
from cloud_server.rest.body import unpacked
from cloud_server.server import Running
from deploy.demo.processes import wait_until
from protos import artifact, image
from tests.cloud_server.conftest import Serve
from tests.cloud_server.graphs import plain
from tests.ports import free_port

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]", exc_type=ImportError)

ROWS = np.array([[1, 0, 0], [0, 2, 0]], np.float32)
X = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": ROWS.tolist()}


@pytest.fixture(scope="module")
def served(serve: Serve, models: dict[str, Path]) -> Iterator[tuple[str, Running]]:
    port = free_port()
    with serve(*models.values(), rest__port=port) as running:
        yield f"127.0.0.1:{port}", running


@pytest.fixture(scope="module")
def address(served: tuple[str, Running]) -> str:
    return served[0]


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client


def ask(
    address: str, path: str, body: Any = None, headers: dict[str, str] | None = None, verb: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """(status, JSON or bytes, headers)."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}/{path}", data, headers or {}, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, _content(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _content(error), dict(error.headers)


def _content(answer: Any) -> Any:
    content = answer.read()
    return (
        json.loads(content) if content and answer.headers["content-type"] == "application/json" else content
    )


def given(name: str, array: np.ndarray, datatype: str, *, binary: bool) -> Any:
    tensor = triton.InferInput(name, array.shape, datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def wanted(name: str, *, binary: bool, classes: int = 0) -> Any:
    return triton.InferRequestedOutput(name, binary_data=binary, class_count=classes)


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cloud", "1")
    assert not client.is_model_ready("absent")
    assert client.get_server_metadata()["name"] == "tidegate"
    metadata = client.get_model_metadata("cloud")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]


def test_index_and_statistics(client: Any, models: dict[str, Path]) -> None:
    assert {it["name"] for it in client.get_model_repository_index()} == models.keys()
    client.infer("plain", [given("x", ROWS, "FP32", binary=True)])
    (found,) = client.get_inference_statistics("plain")["model_stats"]
    assert found["inference_count"] >= 2
    assert found["inference_stats"]["success"]["ns"] > 0
    assert len(client.get_inference_statistics()["model_stats"]) == len(models)


@pytest.mark.parametrize("binary", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(
    "case",
    [
        ("cloud", "logits", ROWS, "FP32"),
        ("bytes", "y", np.arange(5, dtype=np.uint8), "UINT8"),
        ("text", "y", np.array(["Ebbe", "größer", ""], object), "BYTES"),
    ],
    ids=lambda case: case[0],
)
def test_tensors_travel_both_ways(client: Any, case: tuple[Any, ...], binary: tuple[bool, bool]) -> None:
    (model, output, array, datatype), (there, back) = case, binary
    x = given("x", array, datatype, binary=there)
    answer = client.infer(model, [x], outputs=[wanted(output, binary=back)], request_id="7")
    found = answer.as_numpy(output).tolist()
    if datatype == "BYTES":
        found = [it.decode() if isinstance(it, bytes) else it for it in found]
    assert found == (10 * array if model == "cloud" else array).tolist()
    assert answer.get_response()["id"] == "7"


def test_half_precision_travels_as_bytes(client: Any) -> None:
    x = np.array([0.5, 2], np.float16)
    answer = client.infer("half", [given("x", x, "FP16", binary=True)])
    np.testing.assert_array_equal(answer.as_numpy("y"), x)


def test_encoded_images_travel_as_bytes(client: Any) -> None:
    encoded = np.array([image.encode(plain(1))], object)
    answer = client.infer("colour", [given("x", encoded, "BYTES", binary=True)])
    assert answer.as_numpy("logits").tolist() == [[0, 200, 0]]


def test_classification(client: Any) -> None:
    answer = client.infer(
        "cloud",
        [given("x", ROWS, "FP32", binary=True)],
        outputs=[wanted("logits", binary=True, classes=1)],
    )
    assert answer.as_numpy("logits").tolist() == [[b"10.000000:0:red"], [b"20.000000:1:green"]]


def test_plain_json_needs_nothing_else(address: str, models: dict[str, Path]) -> None:
    status, answer, headers = ask(address, "v2/models/cloud/versions/1/infer", {"inputs": [X]})
    assert (status, answer["model_name"], answer["model_version"]) == (200, "cloud", "1")
    assert answer["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [2, 3], "data": [10, 0, 0, 0, 20, 0]}
    ]
    assert headers["tidegate-model-sha256"] == artifact.digest(models["cloud"] / "model.onnx")


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("v2/models/absent/infer", {"inputs": [X]}, 404, "no model 'absent'"),
        ("v2/models/cloud/infer", b"{", 400, "no inference request"),
        ("v2/models/cloud/infer", b"[" * 100_000, 400, "no inference request"),
        ("v2/models/cloud/infer", b'{"inputs":[], "id":"\xff"}', 400, "no inference request"),
        ("v2/models/cloud/infer", {"inputs": [X, X]}, 400, "inputs ['x', 'x'], expected ['x']"),
        ("v2/models/cloud/infer", {"inputs": [X | {"data": [1, 2]}]}, 400, "2 elements"),
        ("v2/models/cloud/infer", {"inputs": [X | {"data": [[1], 2]}]}, 400, "no FP32"),
        ("v2/models/cloud/infer", {"inputs": [X | {"data": ["1"] * 6}]}, 400, "no FP32"),
        ("v2/models/cloud/infer", {"inputs": [X | {"data": ["1" * 10**5] * 60}]}, 413, "the JSON"),
        ("v2/models/cloud/infer", {"inputs": [X | {"data": ["1" * 10**6] + [""] * 10**5}]}, 400, "no FP32"),
        ("v2/models/cloud/infer", {"inputs": [X | {"data": None}]}, 400, "no FP32"),
        ("v2/models/cloud/infer", {"inputs": [X | {"shape": [2**63, 3]}]}, 400, "elements"),
        ("v2/models/cloud/infer", {"inputs": [X | {"datatype": "FP7"}]}, 400, "expected FP32"),
        (
            "v2/models/bytes/infer",
            {"inputs": [{"name": "x", "shape": [1], "datatype": "UINT8", "data": [256]}]},
            400,
            "does not fit",
        ),
        (
            "v2/models/cloud/infer",
            {"inputs": [X], "parameters": {"timeout": "x"}},
            400,
            "parameter 'timeout'",
        ),
        ("v2/models/cloud/infer", {"inputs": [X], "parameters": {"timeout": 1}}, 504, "time was over"),
    ],
)
def test_a_refusal_has_its_status_and_reason(
    address: str, path: str, body: Any, status: int, reason: str
) -> None:
    found, answer, _ = ask(address, path, body)
    assert found == status
    assert reason in answer["error"]


@pytest.mark.parametrize("split", ["-1", "x", "1000000", "9" * 5000, "²"])
def test_a_false_split_is_refused(address: str, split: str) -> None:
    headers = {"Inference-Header-Content-Length": split.encode().decode("latin-1")}
    status, answer, _ = ask(address, "v2/models/cloud/infer", {"inputs": [X]}, headers)
    assert status == 400
    assert "Inference-Header-Content-Length" in answer["error"]


@pytest.mark.parametrize("size", [23, 25, 2**40, -1, True, "24"])
def test_a_false_size_is_refused(address: str, size: Any) -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}}
            ]
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    assert ask(address, "v2/models/cloud/infer", head + ROWS.tobytes(), headers)[0] == 400


def test_a_body_that_is_too_large_is_not_read(served: tuple[str, Running]) -> None:
    address, running = served
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        size = running.repository.request_bytes + 1
        head = f"POST /v2/models/cloud/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(1 << 16)


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_body_may_be_packed(client: Any, packing: str, *, binary: bool) -> None:
    x = given("x", ROWS, "FP32", binary=binary)
    answer = client.infer("cloud", [x], request_compression_algorithm=packing)
    np.testing.assert_array_equal(answer.as_numpy("logits"), 10 * ROWS)


PACKED = gzip.compress(json.dumps({"inputs": [X]}).encode())


@pytest.mark.parametrize(
    ("packing", "body", "status", "reason"),
    [
        ("GZIP", PACKED, 200, ""),
        ("gzip", b"plain", 400, "is no gzip"),
        ("deflate", PACKED, 400, "is no deflate"),
        ("gzip", b"", 400, "not one whole gzip"),
        ("gzip", PACKED[:-1], 400, "not one whole gzip"),
        ("gzip", PACKED + b"x", 400, "not one whole gzip"),
        ("gzip", 2 * PACKED, 400, "not one whole gzip"),
        ("gzip", gzip.compress(gzip.compress(bytes(10**8))), 400, "no inference request"),
        ("gzip", gzip.compress(bytes(10**8)), 413, "the body, unpacked, is larger than"),
        ("gzip, gzip", PACKED, 400, "Content-Encoding: 'gzip, gzip' is not unpacked here"),
        ("br", b"x", 400, "send gzip, deflate or plain"),
    ],
    ids=lambda it: str(it)[:20],
)
def test_what_is_packed_wrongly_or_comes_to_too_much_is_refused(
    address: str, packing: str, body: bytes, status: int, reason: str
) -> None:
    found, answer, _ = ask(address, "v2/models/cloud/infer", body, {"Content-Encoding": packing})
    assert found == status
    assert reason in answer.get("error", "")


def test_who_sends_no_body_may_say_that_it_is_packed(address: str) -> None:
    assert ask(address, "v2/health/live", headers={"Content-Encoding": "gzip"})[0] == 200


def test_no_more_is_unpacked_than_there_may_be() -> None:
    most, packed = 1_000_000, gzip.compress(bytes(10**8))
    assert unpacked(gzip.compress(bytes(most)), "gzip", most) == bytes(most)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpacked(packed, "gzip", most)
        assert tracemalloc.get_traced_memory()[1] < 10 * most
    finally:
        tracemalloc.stop()


def test_a_body_that_does_not_come_ends(served: tuple[str, Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "PATIENCE", 0.1)
    host, _, port = served[0].partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /v2/models/cloud/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert b" 504 " in connection.recv(1 << 16)


def test_a_caller_that_hangs_up_early_is_no_error_of_ours(
    served: tuple[str, Running], caplog: pytest.LogCaptureFixture
) -> None:
    address, running = served
    host, _, port = address.partition(":")
    labels = {"method": "REST ModelInfer", "code": "CANCELLED"}
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /v2/models/cloud/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    count = partial(running.meter.registry.get_sample_value, "tidegate_requests_total", labels)
    assert wait_until(lambda: bool(count()), 20)
    assert "internal error" not in caplog.text


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [("GET", "v2/absent", 404), ("GET", "v3", 404), ("DELETE", "v2/models/cloud", 405), ("POST", "v2", 405)],
)
def test_a_call_that_there_is_not_is_an_error_of_the_protocol(
    served: tuple[str, Running], verb: str, path: str, status: int
) -> None:
    address, running = served
    labels = {"method": "REST unknown", "code": "UNIMPLEMENTED"}
    count = partial(running.meter.registry.get_sample_value, "tidegate_requests_total", labels)
    before = count() or 0
    found, answer, headers = ask(address, path, verb=verb)
    assert (found, answer) == (status, {"error": f"{verb} /{path}: there is no such call"})
    assert ("allow" in headers) == (status == 405)
    assert count() == before + 1


def test_calls_are_counted_beside_those_of_grpc(served: tuple[str, Running]) -> None:
    address, running = served

    def count() -> float:
        labels = {"method": "REST ModelInfer", "code": "NOT_FOUND"}
        return running.meter.registry.get_sample_value("tidegate_requests_total", labels) or 0

    before = count()
    ask(address, "v2/models/absent/infer", {"inputs": []})
    assert count() == before + 1


def test_it_does_not_listen_to_all_the_world_unasked(serve: Serve, models: dict[str, Path]) -> None:
    flags = {"rest__host": "0.0.0.0", "rest__port": free_port()}
    with (
        pytest.raises(ListenError, match=r"\[rest\] 0\.0\.0\.0: is reachable"),
        serve(models["plain"], **flags),
    ):
        pass
