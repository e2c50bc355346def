"""How many calls are under way: a bound on regular ones, and one beside it for those that must yield."""

from threading import Condition


class Slots:
    """``limit`` regular slots, and a spare one that nobody regular ever waits for. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit, self._taken, self._spare_taken = limit, 0, False
        self._freed = Condition()

    def take(self, wait: float) -> bool:
        """Whether a regular slot was free within ``wait`` seconds, and is now taken."""
        with self._freed:
            if self._taken >= self._limit and not (
                wait > 0 and self._freed.wait_for(lambda: self._taken < self._limit, wait)
            ):
                return False
            self._taken += 1
            return True

    def take_spare(self) -> bool:
        """Whether the spare one was free, and a regular one, too: the line has room."""
        with self._freed:
            if self._spare_taken or self._taken >= self._limit:
                return False
            self._spare_taken = True
            return True

    def give(self, *, spare: bool) -> None:
        """A call has ended."""
        with self._freed:
            if spare:
                self._spare_taken = False
            else:
                self._taken -= 1
            self._freed.notify_all()

    def drain(self, *, spare: bool) -> None:
        """Wait until no call is under way, or none but the spare one."""
        with self._freed:
            self._freed.wait_for(lambda: not self._taken and not (spare and self._spare_taken))
