"""Each fault of the proxy, shown on a connection that works before it and, where it can, after."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from random import Random
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Literal

import pytest

from deploy.demo.link import Counts
from deploy.demo.processes import HOST, wait_until
from tests.faults.proxy import Direction, Proxy

WAIT = 10.0
SILENCE = 0.15
"""Seconds without a byte after which we believe that none comes; on loopback one takes a thousandth."""


class Echo(ThreadingTCPServer):
    """Says back what it hears; ``heard`` and ``endings`` tell what that was and how it ended."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__((HOST, 0), Answer)
        self.heard = bytearray()
        self.endings: Queue[Literal["closed", "reset"]] = Queue()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Answer(BaseRequestHandler):
    server: Echo

    def handle(self) -> None:
        try:
            while chunk := self.request.recv(1 << 16):
                self.server.heard += chunk
                self.request.sendall(chunk)
            self.server.endings.put("closed")
        except OSError:
            self.server.endings.put("reset")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(WAIT)


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(HOST, echo.port) as proxy:
        yield proxy


@contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    """A connection, not yet known to work."""
    with socket.create_connection((HOST, proxy.port), timeout=WAIT) as client:
        yield client


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connected(proxy) as client:
        assert answers(client)
        yield client


def answers(client: socket.socket, words: bytes = b"hello") -> bool:
    """Whether these words come back, and nothing else."""
    client.sendall(words)
    return receive(client, len(words)) == words


def receive(client: socket.socket, size: int) -> bytes:
    """So many bytes; fewer where the connection ends before."""
    received = bytearray()
    while len(received) < size and (chunk := client.recv(size - len(received))):
        received += chunk
    return bytes(received)


def silent(client: socket.socket) -> bool:
    """Whether nothing arrives, an end of the connection included."""
    client.settimeout(SILENCE)
    try:
        return not client.recv(1) and False
    except TimeoutError:
        return True
    finally:
        client.settimeout(WAIT)


def test_without_a_fault_bytes_cross_intact_and_are_counted(proxy: Proxy) -> None:
    payload = Random(0).randbytes(300_000)
    with connected(proxy) as client:
        Thread(target=client.sendall, args=(payload,)).start()
        assert receive(client, len(payload)) == payload
        assert proxy.counts() == Counts(sent=len(payload), received=len(payload), connections=1)


@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_latency_delays_a_connection_that_is_open(
    proxy: Proxy, client: socket.socket, direction: Direction
) -> None:
    proxy.shape(latency=0.1, jitter=0.02, direction=direction)
    start = time.monotonic()
    assert answers(client)
    assert time.monotonic() - start >= (2 if direction == "both" else 1) * 0.08


def test_jitter_keeps_the_order_of_bytes(proxy: Proxy, client: socket.socket) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    proxy.shape(latency=0.02, jitter=0.02)
    for byte in range(100):
        client.sendall(bytes([byte]))
    assert receive(client, 100) == bytes(range(100))


def test_a_rate_is_kept(proxy: Proxy, client: socket.socket) -> None:
    proxy.shape(rate=1e6, direction="up")
    start = time.monotonic()
    assert answers(client, bytes(200_000))
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize(("latency", "rate"), [(1000.0, 1e9), (0.0, 0.001)])
def test_what_is_slow_under_way_arrives_when_healed(
    proxy: Proxy, client: socket.socket, latency: float, rate: float
) -> None:
    proxy.shape(latency=latency, rate=rate)
    client.sendall(b"late")
    assert silent(client)
    proxy.heal()
    assert receive(client, 4) == b"late"
    assert answers(client)


@pytest.mark.parametrize(
    ("direction", "heard"), [("up", b"hello"), ("down", b"helloare you there"), ("both", b"hello")]
)
def test_a_blackhole_swallows_until_it_is_healed(
    echo: Echo, proxy: Proxy, client: socket.socket, direction: Direction, heard: bytes
) -> None:
    proxy.blackhole(direction)
    client.sendall(b"are you there")
    assert silent(client)
    assert bytes(echo.heard) == heard
    proxy.heal()
    assert receive(client, 13) == b"are you there"


def test_a_blackhole_accepts_new_connections(proxy: Proxy) -> None:
    proxy.blackhole()
    with connected(proxy) as client:
        client.sendall(b"hello")
        assert silent(client)
        proxy.heal()
        assert receive(client, 5) == b"hello"


def test_a_blackhole_hides_an_end(echo: Echo, proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert answers(client)
        proxy.blackhole()
    assert not wait_until(lambda: not echo.endings.empty(), SILENCE)
    proxy.heal()
    assert echo.endings.get(timeout=WAIT) == "closed"


def test_refused_connections_come_back_to_the_same_port(proxy: Proxy, client: socket.socket) -> None:
    port = proxy.port
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=WAIT)
    assert answers(client)
    proxy.heal()
    with connected(proxy) as anew:
        assert proxy.port == port
        assert answers(anew)


def test_both_sides_of_a_half_open_connection_believe_in_it_for_ever(
    echo: Echo, proxy: Proxy, client: socket.socket
) -> None:
    proxy.half_open()
    client.sendall(b"anybody?")
    assert silent(client)
    proxy.reset()
    proxy.heal()
    with connected(proxy) as anew:
        assert answers(anew)
        assert silent(client)
    client.close()
    assert echo.endings.get(timeout=WAIT) == "closed"  # the new one's
    assert echo.endings.empty()
    assert bytes(echo.heard) == b"hellohello"


def test_a_reset_reaches_both_sides_at_once(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert echo.endings.get(timeout=WAIT) == "reset"
    with connected(proxy) as anew:
        assert answers(anew)


def test_a_connection_is_reset_after_so_many_bytes(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    proxy.reset(after=1000)
    assert answers(client, bytes(999))
    client.sendall(b"xyz")
    assert echo.endings.get(timeout=WAIT) == "reset"
    assert bytes(echo.heard[-2:]) == b"\0x"
    with connected(proxy) as anew:
        anew.sendall(bytes(5000))
        assert echo.endings.get(timeout=WAIT) == "reset"
    proxy.heal()
    with connected(proxy) as healed:
        assert answers(healed, bytes(5000))


def test_bytes_of_an_answer_may_be_counted_instead(proxy: Proxy, client: socket.socket) -> None:
    proxy.reset(after=2, direction="down")
    client.sendall(b"hello")
    assert receive(client, 2) == b"he"
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_byte_is_damaged_with_the_probability_given(
    echo: Echo, proxy: Proxy, client: socket.socket
) -> None:
    proxy.corrupt(0.01, "up")
    client.sendall(bytes(100_000))
    answer = receive(client, 100_000)
    assert answer == bytes(echo.heard[5:])
    damaged = [byte for byte in answer if byte]
    assert 800 < len(damaged) < 1200  # more than 6 standard deviations either way
    assert all(byte.bit_count() == 1 for byte in damaged)
    proxy.heal()
    assert answers(client, bytes(100_000))


def test_the_same_seed_does_the_same_damage(echo: Echo) -> None:
    def damage(seed: int) -> bytes:
        with Proxy(HOST, echo.port, seed) as proxy, connected(proxy) as client:
            proxy.corrupt(0.05, "down")
            client.sendall(bytes(10_000))
            return receive(client, 10_000)

    assert damage(1) == damage(1) != damage(2)


def test_faults_add_up(proxy: Proxy, client: socket.socket) -> None:
    proxy.corrupt(1.0, "up")
    proxy.shape(latency=0.05, direction="up")
    proxy.refuse()
    start = time.monotonic()
    client.sendall(b"\0" * 3)
    assert all(byte.bit_count() == 1 for byte in receive(client, 3))
    assert time.monotonic() - start >= 0.05


def test_nothing_is_left_after_the_proxy(echo: Echo) -> None:
    with Proxy(HOST, echo.port) as proxy:
        clients = [socket.create_connection((HOST, proxy.port), timeout=WAIT) for _ in range(3)]
        assert all(answers(client) for client in clients)
        proxy.half_open()
        proxy.blackhole()
        proxy.refuse()
    for client in clients:
        with client:
            assert client.recv(1) == b""
        assert echo.endings.get(timeout=WAIT) == "closed"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), timeout=WAIT)


def test_a_target_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    with Proxy(HOST, port) as proxy, connected(proxy) as client:
        assert client.recv(1) == b""
        assert proxy.target == f"{HOST}:{proxy.port}"
