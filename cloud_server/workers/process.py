"""One worker, as its supervisor sees it: a process and the two lines to it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloud_server
from cloud_server.workers import talk
from cloud_server.workers.talk import Line
from cloud_server.workers.task import PATIENCE, Task

_CODE = str(Path(cloud_server.__file__).parents[1])
"""Where our packages lie, for a child that does not look into its working directory."""


class Process:
    """A worker from its start on."""

    def __init__(self, task: Task) -> None:
        self.slot, self._asked = task.slot, 0.0
        (down, below), (up, above) = socket.socketpair(), socket.socketpair()
        with below, above:
            ends = below.fileno(), above.fileno()
            command = [sys.executable, "-P", "-m", "cloud_server.workers.worker", *map(str, ends)]
            self._popen = subprocess.Popen(  # noqa: S603 - ourselves
                command,
                env=os.environ | {"PYTHONPATH": _CODE},
                pass_fds=ends,
                process_group=0,  # the terminal's Ctrl-C is for the supervisor alone
                stdin=subprocess.DEVNULL,
            )
        connection = Connection(down.detach())
        self.line = Line(connection)
        self._up = Connection(up.detach())
        with suppress(OSError):  # it has ended already: `watch` finds that out
            connection.send(task)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    def watch(self, behave: Callable[..., Any]) -> str:
        """Answer what it asks until it ends; gives how it ended."""
        how = "lost"
        with suppress(EOFError, OSError):
            while self._up.poll(PATIENCE):
                talk.answer(self._up, behave)
            how = f"gave no sign of life for {PATIENCE:g} s"
            self.kill()
        return self._reap(how)

    def stop(self) -> None:
        """Answer what is under way, then end."""
        self._popen.terminate()

    def kill(self) -> None:
        """End at once."""
        self._popen.kill()

    def _reap(self, how: str) -> str:
        """It says nothing more: it ends, or is ended."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(PATIENCE)
        self.kill()
        code = self._popen.wait()
        return how if how != "lost" else f"signal {-code}" if code < 0 else f"exit code {code}"
