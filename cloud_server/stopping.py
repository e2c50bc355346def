"""SIGTERM or SIGINT once: stop in peace. Twice: at once."""

import signal
from contextlib import suppress
from queue import Empty, SimpleQueue

_TICK = 1.0
"""Seconds between looks at signals."""


def signals() -> SimpleQueue[signal.Signals]:
    """A queue in which the first SIGTERM or SIGINT arrives; after it they have their default effect."""
    received: SimpleQueue[signal.Signals] = SimpleQueue()

    def receive(number: int, _: object) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        received.put(signal.Signals(number))

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, receive)
    return received


def first(received: SimpleQueue[signal.Signals]) -> signal.Signals:
    """What arrives first. A signal just before a wait does not end it, hence more than one wait."""
    while True:
        with suppress(Empty):
            return received.get(timeout=_TICK)
