"""The end of a process at a named point."""

import os
import signal


class Countdown:
    """Ends the process at the n-th time that its point is reached, as a power cut would."""

    def __init__(self, point: str, count: int) -> None:
        self.point, self.left = point, count

    def reach(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
