"""Machines of a network, as namespaces of this one: each with an address, and a cable that can be pulled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.services import require


@dataclass(frozen=True)
class Machine:
    """One of them."""

    name: str
    address: str

    @property
    def there(self) -> list[str]:
        """What stands before a command that runs there."""
        return ["ip", "netns", "exec", self.name]

    def plug(self, state: str) -> None:
        """The cable: ``up`` or ``down``. Nobody at the other end is told."""
        _ip("link", "set", self.name, state)


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many, which this one can reach."""
    require("ip")
    if os.geteuid():
        pytest.skip("needs root, for namespaces of the network")
    number = os.getpid() % 10_000
    bridge, network = f"tg{number}", f"10.{200 + number % 50}.{number // 50}"
    with ExitStack() as made:
        _ip("link", "add", bridge, "type", "bridge")
        made.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{network}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        yield [
            _machine(made, bridge, f"{bridge}-{host}", f"{network}.{host}") for host in range(2, 2 + count)
        ]


def _machine(made: ExitStack, bridge: str, name: str, address: str) -> Machine:
    _ip("netns", "add", name)
    made.callback(_ip, "netns", "del", name)
    _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", name, "master", bridge, "up")
    for device in ("lo", "eth0"):
        _ip("-n", name, "link", "set", device, "up")
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    return Machine(name, address)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
