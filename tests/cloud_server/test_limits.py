"""What one request may bring, by every way in: the limits follow the model that is asked."""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cloud_server.inference.limits import SMALLEST
from protos import codec, image
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.hostile import as_http
from tests.cloud_server.test_streaming import stream
from tests.ports import free_port

Refused = Callable[[pb.ModelInferRequest], str]
"""Sends a request by one of the ways; why it is refused."""
WAYS = ("unary", "stream", "rest")


@pytest.fixture(scope="module")
def refused(serve: Serve, models: dict[str, Path]) -> Iterator[dict[str, Refused]]:
    port = free_port()
    with (
        serve(models["cloud"], models["colour"], rest__port=port) as running,
        grpc.insecure_channel(running.address) as channel,
        stream(channel) as opened,
    ):

        def unary(message: pb.ModelInferRequest) -> str:
            with pytest.raises(grpc.RpcError) as caught:
                GRPCInferenceServiceStub(channel).ModelInfer(message)
            error: Any = caught.value
            return f"{error.code().name}: {error.details()}"

        def rest(message: pb.ModelInferRequest) -> str:
            attack = as_http(message, 0)
            url = f"http://127.0.0.1:{port}/{attack.to}"
            request = urllib.request.Request(url, attack.body, dict(attack.headers))
            with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(request, timeout=60):
                pass
            with caught.value as error:
                return f"{error.code}: {error.read().decode()}"

        yield {"unary": unary, "stream": lambda message: opened.ask(message).error_message, "rest": rest}


@pytest.mark.parametrize("way", WAYS)
def test_bytes(refused: dict[str, Refused], way: str) -> None:
    """A model of three numbers takes 4 MiB, though the server, for another one's images, lets 64 in."""
    rows = np.ones((SMALLEST // 12 + 1, 3), np.float32)
    said = refused[way](codec.request("cloud", {"x": rows}))
    assert said.startswith("413" if way == "rest" else "INVALID_ARGUMENT")
    assert f"larger than {SMALLEST} bytes" in said


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sides", "problem"),
    [
        ([8000], "8000 x 8000 pixels are too many"),
        ([4000] * 4, "images of 64000000 pixels"),
        ([9] * 33, "1 to 32 images"),
    ],
    ids=["one", "together", "too many"],
)
def test_pixels(refused: dict[str, Refused], way: str, sides: list[int], problem: str) -> None:
    encoded = {side: image.encode(np.zeros((side, side, 3), np.uint8)) for side in sides}
    images = np.array([encoded[side] for side in sides], object)
    assert sum(map(len, images)) < SMALLEST
    said = refused[way](codec.request("colour", {"x": images}))
    assert said.startswith("400" if way == "rest" else "INVALID_ARGUMENT")
    assert problem in said
