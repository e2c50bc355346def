"""Who runs when: as many runs at once as the settings allow, and who waits for the same model shares one.

There is no thread for it. The thread of the request whose turn it is leads: it runs its request, and with
it those in line that fit. As that ends it wakes them, and the first in line to lead the next run.
"""

import time
from collections.abc import Callable
from threading import Condition

from cloud_server.errors import Expired, Full, Gone, Late
from cloud_server.inference.call import Call
from cloud_server.inference.door import pause
from cloud_server.inference.line import Job, Line
from cloud_server.inference.model import Done, Model, Work
from cloud_server.inference.sizing import Run

Told = Callable[[Model, Run], object]
"""A model has run."""


class Turns:
    """Any number of threads may ask."""

    def __init__(self, runs: int, told: Told, most: int = 1 << 20) -> None:
        """``most``: requests that may wait."""
        self._free, self._told = runs, told
        self._runs, self._most = runs, most
        self._line, self._gathering = Line(), set[object]()
        self._changed = Condition()

    def run(self, work: Work, call: Call) -> Done:
        """Once it is its turn. ``Expired`` or ``Gone`` if that does not come in time for its caller.

        ``Full`` at once, if it is clear that it will not.
        """
        job = Job(work, call)
        with self._changed:
            self._require_room(job)
            self._line.push(job)
            self._hand_on()
        outcome = self._wait(job) or self._lead(job)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _require_room(self, job: Job) -> None:
        if self._free:
            return
        wait = self._line.ahead(job) / self._runs
        if len(self._line) >= self._most:
            raise Full(f"{self._most} requests are waiting", pause(wait))
        deadline = job.call.deadline
        if deadline is not None and time.monotonic() + wait > deadline:
            raise Late(f"its turn would come in {wait:.3f} s, too late", pause(wait))

    def _wait(self, job: Job) -> Done | Exception | None:
        """What came of it; ``None`` if it is to lead."""
        deadline = job.call.deadline
        if not job.woken.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            with self._changed:
                if self._line.remove(job):
                    return Expired()
            job.woken.acquire()  # it was taken that very moment
        return job.outcome

    def _lead(self, job: Job) -> Done | Exception:
        with self._changed:
            batch = self._gather(job)
            self._hand_on()
        if batch:
            outcomes = batch[0].work.model.run([it.work for it in batch])
            for each, outcome in zip(batch, outcomes, strict=True):
                each.outcome = outcome
        with self._changed:
            self._learn(batch)
            self._free += 1
            self._hand_on()
        for each in batch:
            each.wake()
        return job.outcome or Expired()

    def _learn(self, batch: list[Job]) -> None:
        for run in {it.outcome.run for it in batch if isinstance(it.outcome, Done)}:
            model = batch[0].work.model
            model.sizing.ran(run)
            self._told(model, run)

    def _gather(self, leader: Job) -> list[Job]:
        """What is to share the run, whose model is that of the first one; empty if nobody is left to wait."""
        head: Job | None = leader
        while head and not _alive(head):
            head = self._line.pop(self._gathering)
        if head is None:
            return []
        work = head.work
        if not (work.shares and (self._line or work.model.delay)):
            return [head]
        room = work.model.sizing.next() - work.samples
        if work.model.delay:
            self._await(work, room)
        return [head, *filter(_alive, self._line.take(work.kind, room))]

    def _await(self, work: Work, room: int) -> None:
        """Until those in line fill the room, or for as long as the model may wait."""
        self._gathering.add(work.kind)
        self._changed.wait_for(lambda: self._line.samples(work.kind) >= room, work.model.delay)
        self._gathering.discard(work.kind)

    @property
    def mixed(self) -> bool:
        """Whether there has lately been an order to keep: several callers, or priorities."""
        return self._line.mixed

    def _hand_on(self) -> None:
        """A free run is the first one's in line, if nobody is gathering what it belongs to."""
        while self._free and (heir := self._line.pop(self._gathering)):
            self._free -= 1
            heir.wake()
        if self._gathering:
            self._changed.notify_all()


def _alive(job: Job) -> bool:
    """Whether its caller still waits; else its thread hears of it."""
    deadline = job.call.deadline
    if deadline is not None and deadline <= time.monotonic():
        job.outcome = Expired()
    elif job.call.gone():
        job.outcome = Gone()
    if job.outcome:
        job.wake()
    return job.outcome is None
