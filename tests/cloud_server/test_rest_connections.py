"""Who connects over HTTP and says nothing, or half of it, takes nothing from who has something to ask."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cloud_server.rest import app, connection
from cloud_server.server import Running
from deploy.demo.processes import wait_until
from tests.cloud_server.conftest import Serve
from tests.cloud_server.test_overload import value
from tests.cloud_server.test_rest import ask
from tests.ports import free_port

pytest.importorskip("uvicorn", reason="needs uvicorn")

ROW = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
INFER = "v2/models/plain/infer"
HALF_A_HEAD = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nX-More: "
HALF_A_BODY = f"POST /{INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{".encode()


@contextmanager
def rest(serve: Serve, models: dict[str, Path]) -> Iterator[tuple[Running, str]]:
    port = free_port()
    with serve(models["plain"], rest__port=port) as running:
        yield running, f"127.0.0.1:{port}"


def connect(address: str, said: bytes = b"") -> socket.socket:
    host, _, port = address.partition(":")
    opened = socket.create_connection((host, int(port)), timeout=20)
    opened.sendall(said)
    return opened


def is_alive(opened: socket.socket) -> bool:
    """Whether a request over it is answered."""
    client = http.client.HTTPConnection("x")
    client.sock = opened
    try:
        client.request("GET", "/v2/health/live")
        with client.getresponse() as answer:
            return answer.status == 200 and bool(answer.read())
    except ConnectionError:
        return False


def is_closed(opened: socket.socket) -> bool:
    """Whether it is, after a few bytes more of a head."""
    try:
        opened.sendall(b"x")
        opened.settimeout(0.01)
        return opened.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def is_reset(opened: socket.socket) -> bool:
    """Whether nobody hears what is said over it."""
    try:
        opened.sendall(b"x")
    except ConnectionError:
        return True
    return False


def test_connections_without_a_request_take_no_place(serve: Serve, models: dict[str, Path]) -> None:
    with rest(serve, models) as (_, address), ExitStack() as opened:
        for said in (b"", HALF_A_HEAD):
            for _ in range(app.MOST):
                opened.enter_context(connect(address, said))
        assert ask(address, "v2/health/live")[0] == 200
        assert ask(address, INFER, ROW)[0] == 200


def test_every_client_that_keeps_its_connection_is_served(serve: Serve, models: dict[str, Path]) -> None:
    with rest(serve, models) as (_, address), ExitStack() as opened:
        clients = [opened.enter_context(connect(address)) for _ in range(app.MOST + 6)]
        for _ in range(2):
            assert all(map(is_alive, clients))


def test_one_request_too_many_is_refused_and_health_is_not(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MOST", 2)
    with (
        rest(serve, models) as (running, address),
        connect(address, HALF_A_BODY) as first,
        connect(address, HALF_A_BODY),
    ):
        assert wait_until(lambda: value(running, "tidegate_requests_in_flight") == 2, 20)
        status, found, headers = ask(address, INFER, ROW)
        assert (status, found) == (503, {"error": "2 requests are under way"})
        assert int(headers["retry-after"]) >= 1
        assert ask(address, "v2/models/plain/ready")[0] == 503
        assert [ask(address, f"v2/health/{asked}")[0] for asked in ("live", "ready")] == [200, 200]
        assert value(running, "tidegate_shed_requests_total", reason="queue") == 2
        refused = {"method": "REST ModelInfer", "code": "RESOURCE_EXHAUSTED"}
        assert value(running, "tidegate_requests_total", **refused) == 1
        first.sendall(b"}")
        assert b" 400 " in first.recv(1 << 16)
        assert ask(address, INFER, ROW)[0] == 200


@pytest.mark.parametrize("said", [b"", HALF_A_HEAD])
def test_a_head_that_does_not_come_ends_the_connection(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connection, "SILENCE", 0.1)
    with rest(serve, models) as (_, address), connect(address, HALF_A_BODY) as asking:
        with connect(address, said) as idle:
            assert idle.recv(1) == b""
        with connect(address, HALF_A_HEAD) as trickling:
            assert wait_until(lambda: is_closed(trickling), 20)
        with connect(address) as silent:
            assert is_alive(silent)
            assert silent.recv(1) == b""
        asking.sendall(b"}")
        assert b" 400 " in asking.recv(1 << 16), "a request under way is not silence"


def test_an_answer_that_is_not_read_ends_the_connection(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE", 0.5)
    size, port = 4_000_000, free_port()
    x = {"name": "x", "shape": [size], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [x]})
    head = (
        f"POST /v2/models/bytes/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text) + size}\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\n\r\n"
    )
    with (
        serve(models["bytes"], rest__port=port),
        connect(f"127.0.0.1:{port}", f"{head}{text}".encode() + b"\xff" * size) as asking,
    ):
        assert b" 200 " in asking.recv(100)
        assert wait_until(lambda: is_reset(asking), 20)


def test_of_too_many_connections_the_one_silent_for_longest_goes(
    serve: Serve, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST", 3)
    with (
        rest(serve, models) as (_, address),
        connect(address, HALF_A_BODY) as asking,
        connect(address) as oldest,
        connect(address) as older,
    ):
        assert is_alive(oldest), "it is younger from now on"
        with connect(address) as newest:
            assert is_alive(newest)
            assert not is_alive(older)
            assert is_alive(oldest)
            asking.sendall(b"}")
            assert b" 400 " in asking.recv(1 << 16)
