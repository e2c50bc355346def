"""Bytes at the socket, the same on both sides: the kernel's own count of what TCP connections carried.

gRPC's sockets belong to its C core, which counts messages and no framing. Linux counts for each socket
what its stream carried, the framing of TLS, HTTP/2 and MQTT included; retransmissions and TCP/IP headers
are not. A duplicate of a descriptor outlives its connection, so that the last bytes are counted, too.
"""

import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from threading import Event, Lock, Thread
from typing import Protocol

CALM, SEARCH, BRISK = 1.0, 0.1, 0.02
"""Seconds between looks: while connections stand; while one is missing; and when one has just come or gone,
as the next may be short. Only a connection that begins and ends between two looks is not counted."""
UNREST = 5.0
"""Seconds for which looks are brisk after that."""
SHARE = 0.01
"""The most of its time that a thread spends with looking, however many connections there are."""
MOST = 256
"""Duplicates held at once; connections beyond them lose what they carry after the last look at them."""

_DESCRIPTORS = "/proc/self/fd"
_INFO = struct.Struct("128x Q 64x QQ")
"""Of ``struct tcp_info``, Linux 4.19: bytes received; bytes sent, and how many of them again."""
_INTERNET = {socket.AF_INET, socket.AF_INET6}

Count = Callable[[str, int, int], None]
"""Hears of a transport, and of the bytes it sent and received since it last heard."""


@dataclass(frozen=True)
class Peer:
    """Connections that this process opens to a host and port."""

    transport: str
    host: str
    port: int
    _addresses: set[str] = field(default_factory=set)

    def owns(self, connection: socket.socket) -> bool:
        """Whether this is one of them; asks the resolver about an address that is new."""
        address, port = _address(connection.getpeername())
        if port == self.port and address not in self._addresses:
            self._addresses.update(_resolve(self.host))
        return port == self.port and address in self._addresses


@dataclass(frozen=True)
class Listener:
    """Connections that this process accepts on a port."""

    transport: str
    port: int

    def owns(self, connection: socket.socket) -> bool:
        """Whether this is one of them."""
        connection.getpeername()  # the socket that listens has none
        return _address(connection.getsockname())[1] == self.port


@dataclass
class _Connection:
    transport: str
    duplicate: socket.socket | None = None
    sent: int = 0
    received: int = 0


class Wire:
    """Counts what the connections of some endpoints carry. Thread-safe; counts nothing but on Linux."""

    def __init__(self, endpoints: Iterable[Peer | Listener], count: Count) -> None:
        self._endpoints, self._count = tuple(endpoints), count
        self._connections: dict[int, _Connection] = {}
        self._foreign: set[int] = set()
        self._brisk_until = 0.0
        self.settled = True
        """Whether the last look found the same connections as the one before."""
        self._lock = Lock()

    def look(self, *, restless: bool = False) -> float:
        """Count what was carried since the last look; gives the seconds after which to look again.

        ``restless``: somebody knows that a connection comes or goes.
        """
        now, used = time.monotonic(), time.thread_time()
        with self._lock:
            before = set(self._connections)
            self._look(_sockets())
            self.settled = before == self._connections.keys()
            if restless or not self.settled:
                self._brisk_until = now + UNREST
            pace = BRISK if now < self._brisk_until else SEARCH if self._missing() else CALM
        return max(pace, (time.thread_time() - used) / SHARE)

    def close(self) -> None:
        """Count what is left, and let go."""
        self.look()
        with self._lock:
            for inode in tuple(self._connections):
                self._end(inode)

    def _look(self, found: Mapping[int, set[int]]) -> None:
        held = {it.duplicate.fileno() for it in self._connections.values() if it.duplicate}
        standing = {inode: own for inode, all_of_it in found.items() if (own := all_of_it - held)}
        self._foreign &= standing.keys()
        for inode in standing.keys() - self._foreign:
            with suppress(OSError):  # it was closed this very moment, or is not connected yet
                self._see(inode, min(standing[inode]))
        for inode in self._connections.keys() - standing.keys():
            self._end(inode)

    def _missing(self) -> bool:
        transports = {it.transport for it in self._connections.values()}
        return any(isinstance(it, Peer) and it.transport not in transports for it in self._endpoints)

    def _see(self, inode: int, descriptor: int) -> None:
        known = self._connections.get(inode)
        if known and known.duplicate:
            return self._read(known, known.duplicate)
        duplicate = _duplicate(descriptor, inode)
        try:
            known = known or self._meet(inode, duplicate)
            if known:
                self._read(known, duplicate)
                if len(self._connections) <= MOST:
                    known.duplicate = duplicate
        finally:
            if not (known and known.duplicate):
                duplicate.close()
        return None

    def _meet(self, inode: int, socket_: socket.socket) -> _Connection | None:
        """A socket that is seen for the first time: one of ours, or to be passed over from now on."""
        if socket_.family in _INTERNET and socket_.type == socket.SOCK_STREAM:
            for endpoint in self._endpoints:
                if endpoint.owns(socket_):
                    return self._connections.setdefault(inode, _Connection(endpoint.transport))
        self._foreign.add(inode)
        return None

    def _end(self, inode: int) -> None:
        connection = self._connections.pop(inode)
        if connection.duplicate:
            with connection.duplicate as duplicate:
                self._read(connection, duplicate)

    def _read(self, connection: _Connection, socket_: socket.socket) -> None:
        info = socket_.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        received, sent, again = _INFO.unpack(info)
        sent -= again
        self._count(connection.transport, sent - connection.sent, received - connection.received)
        connection.sent, connection.received = sent, received


class Look(Protocol):
    """What is to be called again and again."""

    def __call__(self, *, restless: bool) -> float:
        """Gives the seconds after which to be called again; ``restless``: as ``Wire.look``."""


@contextmanager
def watching(look: Look, unrest: Event) -> Iterator[None]:
    """While inside, call this from a thread of its own, each time after as many seconds as it says.

    Setting ``unrest`` makes the next look one at once, which hears of it.
    """
    stopping = Event()

    def watch() -> None:
        wait = look(restless=False)
        while not stopping.is_set():
            restless = unrest.wait(wait)
            unrest.clear()
            wait = look(restless=restless)

    thread = Thread(target=watch, name="meters", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        unrest.set()
        thread.join()


def _sockets() -> dict[int, set[int]]:
    """Descriptors of every socket of this process, by inode."""
    found: dict[int, set[int]] = {}
    with suppress(FileNotFoundError):
        for descriptor in [int(it.name) for it in os.scandir(_DESCRIPTORS)]:
            with suppress(OSError):
                status = os.fstat(descriptor)
                if stat.S_ISSOCK(status.st_mode):
                    found.setdefault(status.st_ino, set()).add(descriptor)
    return found


def _duplicate(descriptor: int, inode: int) -> socket.socket:
    """Another descriptor of the same socket; ``OSError`` if it is another socket by now."""
    duplicate = socket.socket(fileno=os.dup(descriptor))
    if os.fstat(duplicate.fileno()).st_ino != inode:
        duplicate.close()
        raise OSError
    return duplicate


def _address(name: tuple[str, int]) -> tuple[str, int]:
    """Address and port; gRPC reaches IPv4 by sockets of IPv6."""
    address = ip_address(name[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address), name[1]


def _resolve(host: str) -> set[str]:
    try:
        return {_address((str(it[4][0]), 0))[0] for it in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
