"""Bytes at the socket: every connection from its first byte to its last, and no other's."""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from deploy.demo.processes import wait_until
from protos import wire
from protos.wire import BRISK, CALM, SEARCH, Listener, Peer, Wire, watching

HOST = "127.0.0.1"
PATIENCE = 10.0


class Counts:
    """What a wire has counted, by transport."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()

    def __call__(self, transport: str, sent: int, received: int) -> None:
        self.sent[transport] += sent
        self.received[transport] += received


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as server:
        yield server


@contextmanager
def connection(server: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends: ours, and the one that was accepted."""
    with socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs:
            yield ours, theirs


def exchange(ends: tuple[socket.socket, socket.socket], up: int, down: int) -> None:
    """Send so much each way, and see that it has arrived."""
    ours, theirs = ends
    for sender, receiver, size in ((ours, theirs, up), (theirs, ours, down)):
        sender.sendall(b"x" * size)
        assert len(receiver.recv(size, socket.MSG_WAITALL)) == size


def test_both_ways_are_counted_from_the_first_byte() -> None:
    counts = Counts()
    with listening() as server, connection(server) as ends:
        exchange(ends, 100, 7)
        found = Wire([Peer("grpc", HOST, server.getsockname()[1])], counts)
        found.look()
        assert (counts.sent["grpc"], counts.received["grpc"]) == (100, 7)
        exchange(ends, 11, 3)
        found.close()
    assert (counts.sent["grpc"], counts.received["grpc"]) == (111, 10)


def test_the_last_bytes_of_a_closed_connection_are_counted() -> None:
    counts = Counts()
    with listening() as server:
        found = Wire([Peer("grpc", HOST, server.getsockname()[1])], counts)
        with connection(server) as ends:
            found.look()
            exchange(ends, 1000, 1000)
        found.look()
        assert counts.sent["grpc"] == 1000
        assert 1000 <= counts.received["grpc"] <= 1001, "the end of a stream has a number, too"
        found.close()
    assert counts.sent["grpc"] == 1000


def test_without_a_duplicate_they_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control; and what becomes of connections beyond the most that are duplicated."""
    monkeypatch.setattr(wire, "MOST", 0)
    counts = Counts()
    with listening() as server:
        found = Wire([Peer("grpc", HOST, server.getsockname()[1])], counts)
        with connection(server) as ends:
            exchange(ends, 10, 10)
            found.look()
            exchange(ends, 5, 5)
            found.look()
            assert counts.sent["grpc"] == 15
            exchange(ends, 1000, 1000)
        found.close()
    assert counts.sent["grpc"] == 15


def test_a_reset_connection_is_counted_to_its_end() -> None:
    counts = Counts()
    with listening() as server:
        found = Wire([Peer("grpc", HOST, server.getsockname()[1])], counts)
        with connection(server) as (ours, theirs):
            found.look()
            exchange((ours, theirs), 500, 0)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            theirs.close()
            with pytest.raises(ConnectionResetError):
                ours.recv(1)
        found.close()
    assert counts.sent["grpc"] == 500


def test_a_listener_counts_what_it_accepts_from_its_own_side() -> None:
    counts = Counts()
    with listening() as server:
        found = Wire([Listener("grpc", server.getsockname()[1])], counts)
        with connection(server) as ends:
            exchange(ends, 100, 7)
            found.look()
        found.close()
    assert counts.sent["grpc"] == 7
    assert 100 <= counts.received["grpc"] <= 101


def test_transports_are_kept_apart_and_others_connections_passed_over() -> None:
    counts = Counts()
    with ExitStack() as stack:
        servers = [stack.enter_context(listening()) for _ in range(3)]
        ports = [server.getsockname()[1] for server in servers]
        found = Wire([Peer("grpc", "localhost", ports[0]), Peer("mqtt", HOST, ports[1])], counts)
        pairs = [stack.enter_context(connection(server)) for server in servers]
        stack.enter_context(socket.socket())  # connected to nobody
        for ends, size in zip(pairs, (10, 200, 3000), strict=True):
            exchange(ends, size, 0)
        found.look()
        found.look()
        assert counts.sent == {"grpc": 10, "mqtt": 200}
        found.close()


def test_another_host_with_the_same_port_is_not_ours() -> None:
    counts = Counts()
    with listening() as server, connection(server) as ends:
        exchange(ends, 10, 10)
        found = Wire([Peer("grpc", "192.0.2.1", server.getsockname()[1])], counts)
        found.close()
    assert not counts.sent


def test_ipv4_by_way_of_ipv6_is_the_same_address() -> None:
    counts = Counts()
    with listening() as server, socket.socket(socket.AF_INET6) as ours:
        ours.connect((f"::ffff:{HOST}", server.getsockname()[1]))
        ours.sendall(b"x" * 10)
        found = Wire([Peer("grpc", HOST, server.getsockname()[1])], counts)
        found.close()
    assert counts.sent["grpc"] == 10


def test_no_descriptor_is_left_behind() -> None:
    before = {*Path("/proc/self/fd").iterdir()}
    with listening() as server:
        found = Wire([Peer("grpc", HOST, server.getsockname()[1])], Counts())
        for _ in range(50):
            with connection(server) as ends:
                exchange(ends, 1, 1)
                found.look()
        found.close()
    assert {*Path("/proc/self/fd").iterdir()} <= before


def test_looks_are_as_far_apart_as_is_safe() -> None:
    with listening() as server:
        port = server.getsockname()[1]
        found = Wire([Peer("grpc", HOST, port)], Counts())
        assert SEARCH <= found.look() < CALM
        assert found.settled
        with connection(server):
            assert BRISK <= found.look() < SEARCH, "a process of many files looks less often"
            assert not found.settled
        found.close()
        found = Wire([Listener("grpc", port)], Counts())
        assert found.look() >= CALM, "nobody has to come"
        with connection(server):
            assert BRISK <= found.look() < SEARCH, "a process of many files looks less often"
        found.close()
    assert Wire([], Counts()).look() >= CALM
    assert BRISK <= Wire([], Counts()).look(restless=True) < SEARCH


def test_unrest_makes_a_look_one_at_once() -> None:
    looks, unrest = [], Event()

    def look(*, restless: bool) -> float:
        looks.append(restless)
        return 1000.0

    with watching(look, unrest):
        assert wait_until(lambda: looks == [False], PATIENCE)
        unrest.set()
        assert wait_until(lambda: looks == [False, True], PATIENCE)
