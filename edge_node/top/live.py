"""The screen while somebody looks at it: redrawn for every reading, key and change of size."""

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread

from rich.console import Console
from rich.live import Live

from edge_node.top.errors import NotShown
from edge_node.top.reading import Reading, fetch
from edge_node.top.view import INTERVAL, View

QUIT, SUSPEND = b"qQ\x03", b"\x1a"
TICK = 1.0
"""Seconds after which ages are drawn anew."""


class _Reader:
    """Asks the node again and again; ``wake`` is called whenever something has come."""

    def __init__(self, url: str, wake: Callable[[], None]) -> None:
        self.heard: SimpleQueue[Reading | NotShown] = SimpleQueue()
        self._url, self._wake, self._stop = url, wake, Event()
        Thread(target=self._run, name="reader", daemon=True).start()

    def stop(self) -> None:
        """Nobody waits for it: it may be waiting for a node that does not answer."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.heard.put(fetch(self._url))
            except NotShown as problem:
                self.heard.put(problem)
            self._wake()
            self._stop.wait(max(0.0, began + INTERVAL - time.monotonic()))


def watch(view: View, console: Console) -> None:
    """Until q or Ctrl-C; the terminal is left as it was found, on Ctrl-Z for as long as it takes."""
    heard, waker = os.pipe()
    with ExitStack() as stack:
        for end in (heard, waker):
            os.set_blocking(end, False)
        reader = _Reader(view.url, lambda: _write(waker))
        stack.callback(reader.stop)
        stack.enter_context(_signals(lambda: _write(waker)))
        while _look(view, console, reader, heard) in SUSPEND:
            os.kill(os.getpid(), signal.SIGSTOP)


def _look(view: View, console: Console, reader: _Reader, heard: int) -> bytes:
    """Draw until a key ends that; which."""
    with _keys() as keyboard, Live(view, console=console, screen=True, auto_refresh=False) as live:
        while True:
            _take(view, reader)
            live.refresh()
            ready, _, _ = select.select([heard, *keyboard], [], [], TICK)
            if heard in ready:
                os.read(heard, 4096)
            if keyboard and keyboard[0] in ready:
                key = os.read(keyboard[0], 1)
                if not key or key in QUIT + SUSPEND:
                    return key or QUIT[:1]


def _take(view: View, reader: _Reader) -> None:
    view.now = time.monotonic()
    while True:
        try:
            heard = reader.heard.get_nowait()
        except Empty:
            return
        if isinstance(heard, Reading):
            view.history.add(heard)
        view.problem = heard.problem if isinstance(heard, NotShown) else ""


@contextmanager
def _keys() -> Iterator[list[int]]:
    """File descriptors of the keyboard, if there is one: every key is read at once, and not shown."""
    if not sys.stdin.isatty():
        yield []
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        mode = termios.tcgetattr(keyboard)
        mode[6][termios.VSUSP] = b"\0"  # Ctrl-Z comes as a key: first the screen is given back
        termios.tcsetattr(keyboard, termios.TCSADRAIN, mode)
        yield [keyboard]
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@contextmanager
def _signals(wake: Callable[[], None]) -> Iterator[None]:
    """A new size draws anew; SIGTERM ends like Ctrl-C, not with somebody's terminal in disorder."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGWINCH, lambda *_: wake()), signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before[0])
        signal.signal(signal.SIGTERM, before[1])


def _write(waker: int) -> None:
    with suppress(BlockingIOError):  # full: it is about to wake up anyway
        os.write(waker, b".")
