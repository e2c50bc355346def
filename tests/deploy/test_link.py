"""The link keeps every byte and its order, takes the time its profile says, and counts exactly."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from deploy.demo.link import CHUNK, PROFILES, Counts, Forward, Lane, Link, Profile
from deploy.demo.processes import HOST, wait_until

WAIT = 60.0
FAST = Profile(latency=0.0, jitter=0.0, up=1e9, down=1e9)


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A server that accepts when the test says so."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(WAIT)
        yield server


@contextmanager
def crossed(link: Link) -> Iterator[tuple[socket.socket, socket.socket, Forward]]:
    """The edge's and the cloud's end of one connection over the link."""
    with listening() as server:
        forward = link.forward(HOST, server.getsockname()[1])
        with socket.create_connection((HOST, forward.port), timeout=WAIT) as edge:
            cloud, _ = server.accept()
            with cloud:
                cloud.settimeout(WAIT)
                yield edge, cloud, forward


def read_all(end: socket.socket) -> bytes:
    """What arrives until the end of file."""
    received = bytearray()
    while chunk := end.recv(1 << 16):
        received += chunk
    return bytes(received)


def send_in_pieces(end: socket.socket, payload: bytes, seed: int) -> None:
    """Send pieces of 1 byte to 3 chunks, then half-close."""
    sizes = random.Random(seed)
    while payload:
        size = sizes.choice([1, 60, 1500, 3 * CHUNK])
        end.sendall(payload[:size])
        payload = payload[size:]
    end.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("profile", [FAST, PROFILES["lan"], PROFILES["wifi"]], ids=["fast", "lan", "wifi"])
def test_bytes_cross_both_ways_intact_in_order_and_counted(profile: Profile) -> None:
    there, back = random.Random(1).randbytes(300_001), random.Random(2).randbytes(200_003)
    with Link(profile) as link, crossed(link) as (edge, cloud, forward):
        senders = [
            Thread(target=send_in_pieces, args=(edge, there, 3)),
            Thread(target=send_in_pieces, args=(cloud, back, 4)),
        ]
        arrived: list[bytes] = []
        readers = [Thread(target=lambda end=end: arrived.append(read_all(end))) for end in (edge, cloud)]
        for thread in senders + readers:
            thread.start()
        for thread in senders + readers:
            thread.join(WAIT)
        assert sorted(map(len, arrived)) == sorted([len(there), len(back)])
        assert set(arrived) == {there, back}
        assert forward.counts() == Counts(sent=len(there), received=len(back), connections=1)


def test_a_direction_stays_open_after_the_other_is_closed() -> None:
    with Link(FAST) as link, crossed(link) as (edge, cloud, _):
        edge.shutdown(socket.SHUT_WR)
        assert read_all(cloud) == b""
        cloud.sendall(b"still here")
        cloud.shutdown(socket.SHUT_WR)
        assert read_all(edge) == b"still here"


def test_forwards_are_counted_apart() -> None:
    with Link(FAST) as link, crossed(link) as (one, one_cloud, first), crossed(link) as (_, _unused, second):
        one.sendall(b"12345")
        assert one_cloud.recv(5, socket.MSG_WAITALL) == b"12345"
        assert (first.counts().sent, second.counts().sent) == (5, 0)


def test_a_byte_takes_at_least_the_latency_of_its_profile() -> None:
    profile = PROFILES["lte"]
    with Link(profile) as link, crossed(link) as (edge, cloud, _):
        start = time.monotonic()
        edge.sendall(b"?")
        cloud.sendall(cloud.recv(1))
        edge.recv(1)
        elapsed = time.monotonic() - start
    assert elapsed >= 2 * (profile.latency - profile.jitter)


@pytest.mark.parametrize("upwards", [True, False])
def test_the_rate_of_a_direction_is_kept(upwards: bool) -> None:  # noqa: FBT001
    size, rate = 200_000, 1e6
    profile = Profile(latency=0.0, jitter=0.0, up=rate if upwards else 1e9, down=1e9 if upwards else rate)
    with Link(profile) as link, crossed(link) as (edge, cloud, _):
        sender, receiver = (edge, cloud) if upwards else (cloud, edge)
        start = time.monotonic()
        Thread(target=send_in_pieces, args=(sender, bytes(size), 5)).start()
        assert len(read_all(receiver)) == size
        assert time.monotonic() - start >= size / rate


def test_connections_of_a_forward_share_its_rate() -> None:
    size, rate = 50_000, 5e5
    with Link(Profile(0.0, 0.0, up=rate, down=1e9)) as link, listening() as server:
        forward = link.forward(HOST, server.getsockname()[1])
        start = time.monotonic()
        with (
            socket.create_connection((HOST, forward.port)) as one,
            socket.create_connection((HOST, forward.port)) as two,
        ):
            for edge in (one, two):
                edge.sendall(bytes(size))
                edge.shutdown(socket.SHUT_WR)
            for _ in (one, two):
                with server.accept()[0] as cloud:
                    assert len(read_all(cloud)) == size
        assert time.monotonic() - start >= 2 * size / rate
        assert forward.counts() == Counts(2 * size, 0, 2)


def test_a_target_that_does_not_read_holds_the_sender_back() -> None:
    """Far below what is offered: what is out of the sender's hands is bounded, here and in the kernel."""
    offered = 256 << 20
    with Link(FAST) as link, crossed(link) as (edge, _, forward):
        edge.settimeout(1.0)
        with pytest.raises(TimeoutError):
            edge.sendall(bytes(offered))
        assert forward.counts().sent < offered / 8


def test_jitter_is_the_same_for_the_same_seed() -> None:
    def arrivals(seed: int) -> list[float]:
        lane = Lane(PROFILES["poor"], rate=1e6, seed=str(seed))
        return [lane.arrival(100, now=float(second)) for second in range(20)]

    assert arrivals(7) == arrivals(7)
    assert arrivals(7) != arrivals(8)


def test_a_refused_target_closes_the_connection() -> None:
    with listening() as server:
        refused = server.getsockname()[1]
    with Link(FAST) as link:
        forward = link.forward(HOST, refused)
        with socket.create_connection((HOST, forward.port), timeout=WAIT) as edge:
            assert gone(edge)
        assert forward.counts() == Counts(0, 0, 1)


def test_a_reset_on_one_side_reaches_the_other() -> None:
    with Link(FAST) as link, crossed(link) as (edge, cloud, _):
        edge.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        edge.close()
        assert gone(cloud)


def test_an_end_of_file_for_a_side_that_was_reset_is_no_error() -> None:
    with Link(Profile(latency=0.02, jitter=0.0, up=1e9, down=1e9)) as link, crossed(link) as (edge, cloud, _):
        cloud.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        cloud.close()
        edge.shutdown(socket.SHUT_WR)
        assert gone(edge)


def test_the_last_words_of_a_client_arrive_though_an_answer_finds_it_gone() -> None:
    """An MQTT DISCONNECT that is overtaken by a reset would set off the last will."""
    slow = Profile(latency=0.05, jitter=0.0, up=1e9, down=1e9)
    with Link(slow) as link, crossed(link) as (edge, cloud, _):
        cloud.sendall(b"an acknowledgement")
        edge.sendall(b"goodbye")
        edge.close()
        assert cloud.recv(7, socket.MSG_WAITALL) == b"goodbye"
        assert gone(cloud)


def test_stopping_cuts_what_is_open_and_frees_the_port() -> None:
    with listening() as server:
        with Link(PROFILES["poor"]) as link:
            forward = link.forward(HOST, server.getsockname()[1])
            edge = socket.create_connection((HOST, forward.port), timeout=WAIT)
            cloud, _ = server.accept()
            edge.sendall(b"never arrives")
        with edge, cloud:
            cloud.settimeout(WAIT)
            assert gone(edge)
            assert gone(cloud)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, forward.port), timeout=WAIT)
    assert wait_until(lambda: "link" not in {thread.name for thread in threading.enumerate()}, WAIT)


def gone(end: socket.socket) -> bool:
    """Whether the other side has closed or reset the connection."""
    try:
        return end.recv(1) == b""
    except ConnectionResetError:
        return True
