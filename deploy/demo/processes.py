"""Child processes: output in a file of their own, and none of them outlives this process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
"""Everything the demo starts listens here and nowhere else."""

_POLL = 0.02
_STOP_GRACE = 10.0

# The kernel signals a child when the thread that started it ends (PR_SET_PDEATHSIG), which covers a
# kill -9 of this process. It is set after the fork by a program of its own, because this process
# has threads and a `preexec_fn` may deadlock in one that has.
_LEASH = """
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(parent):
    os.execvp(command[0], command)
"""


class Child:
    """A child process with a name; runs from `__enter__` to `__exit__`. Start it in the main thread."""

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._env = env or {}
        self._command = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *map(str, command)]

    def __enter__(self) -> Self:
        """Start the process; its own group keeps the terminal's Ctrl-C for this process alone.

        Settings in our environment are meant for nodes of the user's own: of those it gets `env` alone.
        """
        env = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**env, **self._env},
                process_group=0,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process if it still runs, by force when it does not end in time."""
        self.terminate()
        self.wait(_STOP_GRACE)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while the process runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM)."""
        self._process.terminate()

    def wait(self, timeout: float) -> int:
        """Exit status; the process is killed when it still runs after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def last_line(self) -> str:
        """The last line the process wrote, empty when it wrote none."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll `condition` for up to `timeout` seconds; whether it came true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
