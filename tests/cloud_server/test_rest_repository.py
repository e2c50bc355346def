"""What a caller says of the repository over HTTP is heard, as it is over gRPC."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud_server.conftest import Serve
from tests.cloud_server.test_catalogue import add, spoil
from tests.cloud_server.test_rest import ask
from tests.ports import free_port

LOAD, UNLOAD = (f"v2/repository/models/net/{what}" for what in ("load", "unload"))
READY, FAILED = ("1", "READY"), ("2", "UNAVAILABLE")


@pytest.fixture
def address(serve: Serve, tmp_path: Path) -> Iterator[str]:
    """Of a server whose ``net`` has a version that serves, and one that failed."""
    folder = tmp_path / "models"
    add(folder, 1)
    spoil(folder, 2)
    flags = {"repository.path": str(folder), "repository.control": True, "loading.memory": 512}
    port = free_port()
    with serve(rest__port=port, **flags):
        yield f"127.0.0.1:{port}"


def index(address: str, body: Any) -> list[tuple[str, str]]:
    status, found, _ = ask(address, "v2/repository/index", body)
    assert status == 200
    return [(it["version"], it["state"]) for it in found]


def test_the_index_is_of_what_is_ready_if_that_is_asked(address: str) -> None:
    assert index(address, {"ready": True}) == [READY]
    packed = gzip.compress(b'{"ready": true}')
    assert len(ask(address, "v2/repository/index", packed, {"Content-Encoding": "gzip"})[1]) == 1
    for body in (b"", {}, {"ready": False}, {"else": [1]}):
        assert sorted(index(address, body)) == [READY, FAILED]


def test_a_caller_brings_no_model_of_its_own(address: str) -> None:
    for value in ("{}", True, 2**70, 0.5, {"string_param": "x"}):
        status, found, _ = ask(address, LOAD, {"parameters": {"config": value}})
        assert status == 501
        assert "no parameters are taken" in found["error"]


def test_tritonclients_word_on_dependents_concerns_no_model_of_ours(address: str) -> None:
    assert ask(address, UNLOAD, {"parameters": {"unload_dependents": False}})[0] == 200
    assert ask(address, "v2/models/net")[0] == 404
    assert index(address, {"ready": True}) == []


def test_a_body_that_is_no_request_is_refused(address: str) -> None:
    bodies = [b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 60_000, {"ready": 1}, {"parameters": []}]
    bodies += [b'{"parameters": {"\\ud800": 1}}']
    for path in ("v2/repository/index", LOAD, UNLOAD):
        for body in bodies:
            status, found, _ = ask(address, path, body)
            assert (status, found["error"].partition(":")[0]) == (400, "the JSON is no request")


def test_a_body_is_no_larger_than_there_is_to_say(address: str) -> None:
    assert ask(address, LOAD, {"parameters": {"file:1/model.onnx": "x" * 100_000}})[0] == 413
    assert index(address, {"ready": True}) == [READY]
