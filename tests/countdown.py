"""The end of a process at a named point."""

import os
import signal
from threading import Event


class Countdown:
    """Ends the process at the n-th time that its point is reached, as a power cut would."""

    def __init__(self, point: str, count: int) -> None:
        self.point, self.left = point, count

    def reach(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                self._end()

    def _end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Harmless(Countdown):
    """Says that the n-th time has come, and lets the process live."""

    def __init__(self, point: str, count: int) -> None:
        super().__init__(point, count)
        self.over = Event()

    def _end(self) -> None:
        self.over.set()
