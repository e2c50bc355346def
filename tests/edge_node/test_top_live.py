"""`edge-node top` in a terminal: follows a node through its life, and leaves the terminal as it was."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.processes import wait_until
from edge_node.config import Metrics
from edge_node.metrics import Meter, serve
from protos.artifact import Artifact
from tests.nodes import COMMAND, PATIENCE, environment, started, write_config
from tests.ports import free_port

HOST = "127.0.0.1"
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
IN_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program, and what it has written."""

    def __init__(
        self, popen: "subprocess.Popen[bytes]", controller: int, tty: int, before: list[Any]
    ) -> None:
        self.popen, self._controller, self._tty, self.before = popen, controller, tty, before
        self.written = b""

    def shows(self, text: str) -> bool:
        """Whether it writes this soon, after all that was asked for before."""
        wait_until(lambda: text.encode() in self._read() or self.popen.poll() is not None, PATIENCE)
        found = self.written.find(text.encode())
        self.written = self.written[found:] if found >= 0 else self.written
        return found >= 0

    def press(self, key: bytes) -> None:
        os.write(self._controller, key)

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._tty, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.popen.send_signal(signal.SIGWINCH)

    def mode(self) -> list[Any]:
        """How the terminal handles input."""
        return termios.tcgetattr(self._tty)

    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def ended(self) -> bytes:
        """The last that it wrote, once it is over; it has to be well."""
        assert wait_until(lambda: self._read() is not None and self.popen.poll() is not None, PATIENCE)
        assert self.popen.returncode == 0, self._read()
        return self._read()

    def _read(self) -> bytes:
        try:
            while chunk := os.read(self._controller, 65536):
                self.written += chunk
        except BlockingIOError:
            pass
        return self.written


@contextmanager
def terminal(*arguments: str, **environ: str) -> Iterator[Terminal]:
    """`edge-node top` in one of 80 columns and 24 lines."""
    controller, tty = pty.openpty()
    os.set_blocking(controller, False)
    before = termios.tcgetattr(tty)
    environ = {"TERM": "xterm-256color", **environ}
    unsized = {key: value for key, value in environment(**environ).items() if key not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-c", IN_A_TERMINAL, *COMMAND, "top", *arguments]
    with subprocess.Popen(command, stdin=tty, stdout=tty, stderr=tty, env=unsized) as popen:
        shown = Terminal(popen, controller, tty, before)
        shown.resize(24, 80)
        try:
            yield shown
        finally:
            popen.kill()
            os.close(controller)
            os.close(tty)


@contextmanager
def node() -> Iterator[str]:
    """Metrics of one; gives its address."""
    with serve(Meter(), Metrics(port=0)) as port:
        yield f"{HOST}:{port}"


def test_it_follows_a_node_through_its_life(tmp_path: Path, artifact: Artifact) -> None:
    port = free_port()
    config = write_config(tmp_path, artifact, source={"kind": "stdin"}, metrics={"port": port})
    with terminal("--config", str(config)) as shown:
        assert shown.shows("connection refused; looking again")
        with started(tmp_path, config) as process:
            assert shown.shows("starting, no samples yet")
            process.feed([[0, 5, 0]])
            assert shown.shows("● live")
            assert shown.shows("lab/a")
        assert shown.shows("not reachable for")
        with started(tmp_path, config) as process:
            process.feed([[0, 5, 0]])
            assert shown.shows("● restarted")
        shown.press(b"q")
        shown.ended()


@pytest.mark.parametrize("way", [b"q", b"\x03", signal.SIGTERM, signal.SIGINT])
def test_it_leaves_the_terminal_as_it_was(way: bytes | signal.Signals) -> None:
    with node() as where, terminal(where) as shown:
        before = shown.before
        assert shown.shows("no samples yet")
        assert shown.mode() != before, "the control: keys are read at once"
        if isinstance(way, bytes):
            shown.press(way)
        else:
            shown.popen.send_signal(way)
        written = shown.ended()
        assert shown.mode() == before
    assert written.rindex(LEAVE) > written.rfind(ENTER)
    assert written.rindex(SHOW) > written.rfind(HIDE)
    assert b"Traceback" not in written


def test_on_ctrl_z_the_terminal_is_given_back_for_as_long_as_it_takes() -> None:
    with node() as where, terminal(where) as shown:
        before = shown.before
        assert shown.shows("no samples yet")
        shown.press(b"\x1a")
        assert wait_until(shown.is_stopped, PATIENCE)
        assert shown.mode() == before
        shown.popen.send_signal(signal.SIGCONT)
        assert shown.shows(ENTER.decode())
        shown.press(b"q")
        shown.ended()


def test_a_new_size_is_used() -> None:
    with node() as where, terminal(where) as shown:
        assert shown.shows("Energy")
        shown.resize(40, 120)
        assert shown.shows("cloud alone, estimated")
        shown.press(b"q")
        shown.ended()


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}])
def test_colour_is_an_accent_that_can_be_left_out(environ: dict[str, str]) -> None:
    with node() as where, terminal(where, **environ) as shown:
        assert shown.shows("Latency")
        assert shown.shows("Certificate")
        shown.press(b"q")
        coloured = b"\x1b[32m" in shown.ended() or b"\x1b[35m" in shown.written
    assert coloured is not bool(environ)


def test_a_dumb_terminal_gets_one_frame() -> None:
    with node() as where, terminal(where, TERM="dumb") as shown:
        written = shown.ended()
    assert b"Certificate" in written
    assert b"\x1b" not in written
