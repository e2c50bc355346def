"""One real server for all tests that do not stop it, and a way to start others."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest
from onnx import TensorProto

from cloud_server import config, server
from cloud_server.server import Running
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server import graphs
from tests.models import cloud_artifact, linear

ANY_PORT = {"server.port": 0, "metrics.port": 0}


class Serve(Protocol):
    """Starts a server of these models on free ports; other settings by ``section.key``."""

    def __call__(self, *models: Path, **flags: object) -> AbstractContextManager[Running]: ...


@pytest.fixture(scope="session")
def serve() -> Serve:
    @contextmanager
    def start(*models: Path, **flags: object) -> Iterator[Running]:
        given = {name.replace("__", "."): value for name, value in flags.items()}
        paths = [{"path": str(path)} for path in models]
        with server.serve(config.load(None, {**ANY_PORT, "models": paths, **given})) as running:
            yield running

    return start


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, by the name it is served under."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "cloud": cloud_artifact(folder / "cloud").directory,
        "colour": graphs.colour(folder / "colour").directory,
        "plain": linear(folder / "plain.onnx"),
        "bytes": graphs.echo(folder / "bytes.onnx", TensorProto.UINT8),
        "text": graphs.echo(folder / "text.onnx", TensorProto.STRING),
        "half": graphs.echo(folder / "half.onnx", TensorProto.FLOAT16),
        "arithmetic": graphs.arithmetic(folder / "arithmetic.onnx"),
        "counting": graphs.counting(folder / "counting.onnx"),
    }


@pytest.fixture(scope="session")
def running(serve: Serve, models: dict[str, Path]) -> Iterator[Running]:
    with serve(*models.values()) as running:
        yield running


@pytest.fixture(scope="session")
def channel(running: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> Any:
    """The six calls."""
    return GRPCInferenceServiceStub(channel)
