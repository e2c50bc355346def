"""Runs of a model that are under way, and who ends them: what a caller sends can make one go on for ever."""

import time
from collections.abc import Sequence
from threading import Event, Lock, Thread
from typing import Any, Protocol

from cloud_server.errors import Expired, Gone, RequestError, Stopping
from cloud_server.inference.call import Call
from cloud_server.inference.session import run_options
from protos.codec import Tensor

ENDED = Expired, Gone, Stopping
"""What a run that is ended raises."""
LOOK = 0.5
"""Seconds from one look to the next: a run that has just begun is not worth one."""


class Runs:
    """Of one session. Any number of threads may run it."""

    def __init__(self, session: Any, longest: float) -> None:
        """``longest``: seconds."""
        self._session, self._longest = session, longest
        self._under_way: dict[Any, tuple[float, Sequence[Call]]] = {}
        self._spare: list[Any] = []
        self._lock, self._stopped = Lock(), False

    def run(self, outputs: Sequence[str], feed: dict[str, Tensor], calls: Sequence[Call]) -> list[Tensor]:
        """For these callers. One of ``ENDED`` if it is ended; else whatever the session raises."""
        with self._lock:
            options = self._spare.pop() if self._spare else run_options()
            options.terminate = self._stopped
            self._under_way[options] = time.monotonic(), calls
        try:
            found: list[Tensor] = self._session.run(outputs, feed, options)
        except Exception:
            if not options.terminate:
                raise
            raise self._reason(calls) from None
        finally:
            with self._lock:
                del self._under_way[options]
                self._spare.append(options)
        return found

    def _reason(self, calls: Sequence[Call]) -> RequestError:
        if self._stopped:
            return Stopping()
        return calls[0].hopeless() or Expired(f"it was ended: no run may take {self._longest:g} s")

    def look(self) -> None:
        """End what takes too long, or nobody waits for."""
        now = time.monotonic()
        with self._lock:
            for options, (began, calls) in self._under_way.items():
                late = now - began > self._longest
                if late or (now - began > LOOK and all(call.hopeless() for call in calls)):
                    options.terminate = True

    def stop(self) -> None:
        """End all, and whatever would begin."""
        with self._lock:
            self._stopped = True
            for options in self._under_way:
                options.terminate = True


class Watched(Protocol):
    """What has runs."""

    def look(self) -> None:
        """As ``Runs.look``."""


class Watchdog(Thread):
    """Looks, once it has been started."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._watched, self._over = watched, Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(LOOK):
            self._watched.look()
