"""Signals from a person or a supervisor, and word to systemd of how we are (``sd_notify(3)``)."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType

log = logging.getLogger(__name__)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set; a second one ends the process at once."""
    stop = Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("%s: stopping; once more to stop at once", signal.Signals(number).name)
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def notify(state: str) -> None:
    """Tell systemd ``READY=1``, ``WATCHDOG=1`` or ``STOPPING=1``; without systemd, nobody."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        unix.sendto(state.encode(), address)


@contextmanager
def watchdog(busy_since: Callable[[], float | None]) -> Iterator[None]:
    """While inside, tell systemd that all is well, thrice each ``WatchdogSec``; without a watchdog, nobody.

    Silent while one sample takes longer than that. ``busy_since``: when work on the present one began
    (``time.monotonic()``), None while there is none: a source may be quiet for as long as it likes.
    """
    period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    over = Event()

    def report() -> None:
        while not over.wait(period / 3):
            since = busy_since()
            if since is None or time.monotonic() - since < period:
                notify("WATCHDOG=1")

    if not period:
        yield
        return
    thread = Thread(target=report, name="watchdog")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
