"""The same calls by an independent client, in one process with our own stubs."""

from collections.abc import Iterator
from queue import Queue
from typing import Any

import numpy as np
import pytest

from cloud_server.server import Running
from protos import image
from tests.cloud_server.graphs import plain

triton = pytest.importorskip("tritonclient.grpc")


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[Any]:
    with triton.InferenceServerClient(running.address) as client:
        yield client


def given(name: str, array: np.ndarray, datatype: str) -> Any:
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def test_liveness_and_readiness(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cloud")
    assert client.is_model_ready("cloud", "1")
    assert not client.is_model_ready("absent")


def test_metadata(client: Any) -> None:
    assert client.get_server_metadata().name == "tidegate"
    metadata = client.get_model_metadata("cloud", as_json=True)
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}]


def test_inference(client: Any) -> None:
    rows = np.eye(3, dtype=np.float32)
    answer = client.infer("cloud", [given("x", rows, "FP32")], request_id="7")
    np.testing.assert_array_equal(answer.as_numpy("logits"), 10 * rows)
    assert answer.get_response().id == "7"


def test_requested_outputs(client: Any) -> None:
    one = np.ones(2, np.float32)
    answer = client.infer(
        "arithmetic",
        [given("a", one, "FP32"), given("b", one, "FP32")],
        outputs=[triton.InferRequestedOutput("sum")],
    )
    assert answer.as_numpy("sum").tolist() == [2, 2]
    assert answer.as_numpy("difference") is None


def test_asynchronous_inference(client: Any) -> None:
    rows = np.eye(3, dtype=np.float32)
    answers: Queue[Any] = Queue()
    for _ in range(8):
        client.async_infer(
            "cloud", [given("x", rows, "FP32")], lambda result, error: answers.put((result, error))
        )
    for _ in range(8):
        result, error = answers.get(timeout=10)
        assert error is None
        np.testing.assert_array_equal(result.as_numpy("logits"), 10 * rows)


def test_encoded_images(client: Any) -> None:
    encoded = np.array([image.encode(plain(1))], object)
    answer = client.infer("colour", [given("x", encoded, "BYTES")])
    assert answer.as_numpy("logits").tolist() == [[0, 200, 0]]


def test_text(client: Any) -> None:
    answer = client.infer("text", [given("x", np.array([b"ebb", b"flow"], object), "BYTES")])
    assert answer.as_numpy("y").tolist() == [b"ebb", b"flow"]


def test_a_refusal_arrives_with_its_reason(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match=r"INVALID_ARGUMENT.*shape \[1, 4\]"):
        client.infer("cloud", [given("x", np.zeros((1, 4), np.float32), "FP32")])
