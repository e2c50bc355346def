"""Ports for servers that have to be told one."""

import random
import socket

HOST = "127.0.0.1"
_untried = iter(random.sample(range(20_000, 32_768), k=12_768))
"""Below those that the kernel gives to whoever asks for any: no connection has one by chance."""


def free_port() -> int:
    """A port that nobody listens on, and a new one every time."""
    return next(port for port in _untried if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
