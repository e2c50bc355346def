"""Who runs when: as many runs at once as the settings allow, and who waits for the same model shares one.

There is no thread for it. The thread of the request whose turn it is leads: it runs its request, and with
it those in line that fit. As that ends it wakes them, and the first in line to lead the next run.
"""

import time
from collections.abc import Callable, Collection
from threading import Condition, Lock

from cloud_server.backoff import pause
from cloud_server.errors import Expired, Full, Late
from cloud_server.inference.call import Call
from cloud_server.inference.line import Job, Line
from cloud_server.inference.model import Done, Model, Work
from cloud_server.inference.sizing import Run
from cloud_server.room import Room

Told = Callable[[Model, Run], object]
"""A model has run."""


class Turns:
    """Any number of threads may ask."""

    def __init__(self, runs: int, told: Told, room: Room) -> None:
        """``room``: for those that come here, and have no place there yet."""
        self._free, self._told, self._spare = runs, told, 0
        self._runs, self._room = runs, room
        self.waits: Callable[[], None] = lambda: None
        """To be called by who is going to wait."""
        self._line, self._gathering = Line(), set[object]()
        self._lock = Lock()
        self._changed = Condition(self._lock)

    def run(self, work: Work, call: Call) -> Done:
        """Once it is its turn. ``Expired`` or ``Gone`` if that does not come in time for its caller.

        ``Full`` at once, if it is clear that it will not, or there is no room.
        """
        if call.seated:
            return self._run(work, call)
        if self._room.full(call.identity):
            raise Full(f"{self._room.inside} requests are waiting", pause(self._room.wait(call.identity)))
        self._room.enter(call.identity)
        try:
            return self._run(work, call)
        finally:
            self._room.leave(call.identity)

    def _run(self, work: Work, call: Call) -> Done:
        if self._at_once(work):
            outcome = self._alone(work, call)
        else:
            job = self._queue(work, call)
            outcome = self._wait(job) or self._lead(job)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _at_once(self, work: Work) -> bool:
        """Whether a run is free and nobody is before it: then that run is its own."""
        with self._lock:
            if self._free <= self._spare or self._line.jobs or self._gathering or work.model.delay:
                return False
            self._free -= 1
            return True

    def _alone(self, work: Work, call: Call) -> Done | Exception:
        outcome = call.hopeless() or work.model.alone(work, call)
        self._end(work.model, (outcome.run,) if isinstance(outcome, Done) else ())
        return outcome

    def _queue(self, work: Work, call: Call) -> Job:
        job = Job(work, call)
        with self._lock:
            self._require_time(job)
            self._line.push(job)
            self._hand_on()
        return job

    def _require_time(self, job: Job) -> None:
        if self._free > self._spare:
            return
        wait = self._line.ahead(job) / self._runs
        deadline = job.call.deadline
        if deadline is not None and time.monotonic() + wait > deadline:
            raise Late(f"its turn would come in {wait:.3f} s, too late", pause(wait))

    def _wait(self, job: Job) -> Done | Exception | None:
        """What came of it; ``None`` if it is to lead."""
        deadline = job.call.deadline
        self.waits()
        if not job.woken.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            with self._lock:
                if self._line.remove(job):
                    return Expired()
            job.woken.acquire()  # it was taken that very moment
        return job.outcome

    def _lead(self, job: Job) -> Done | Exception:
        with self._lock:
            batch = self._gather(job)
            self._hand_on()
        works, calls = [it.work for it in batch], [it.call for it in batch]
        outcomes = works[0].model.together(works, calls) if batch else []
        for each, outcome in zip(batch, outcomes, strict=True):
            each.outcome = outcome
        self._end((batch or [job])[0].work.model, {it.run for it in outcomes if isinstance(it, Done)})
        for each in batch:
            each.wake()
        return job.outcome or Expired()

    def _end(self, model: Model, runs: Collection[Run]) -> None:
        """What is learnt of them, one or those in its place, and who is next."""
        with self._lock:
            for run in runs:
                model.sizing.ran(run)
            self._free += 1
            self._spare = int(model.sizing.shares and self._runs > 1)  # with whom, if nobody were in line?
            if self._line.jobs or self._gathering:
                self._hand_on()
        for run in runs:
            self._told(model, run)

    def _gather(self, leader: Job) -> list[Job]:
        """What is to share the run, whose model is that of the first one; empty if nobody is left to wait."""
        head: Job | None = leader
        while head and not _alive(head):
            head = self._line.pop(self._gathering)
        if head is None:
            return []
        work = head.work
        if not (work.plan.shares and (self._line.jobs or work.model.delay)):
            return [head]
        room = work.model.sizing.next() - work.plan.samples
        if work.model.delay:
            self._await(work, room)
        return [head, *filter(_alive, self._line.take(work.plan.kind, room))]

    def _await(self, work: Work, room: int) -> None:
        """Until those in line fill the room, or for as long as the model may wait."""
        kind = work.plan.kind
        self._gathering.add(kind)
        self._changed.wait_for(lambda: self._line.samples(kind) >= room, work.model.delay)
        self._gathering.discard(kind)

    def _hand_on(self) -> None:
        """A free run is the first one's in line, if nobody is gathering what it belongs to."""
        while self._free > self._spare and (heir := self._line.pop(self._gathering)):
            self._free -= 1
            heir.wake()
        if self._gathering:
            self._changed.notify_all()


def _alive(job: Job) -> bool:
    """Whether its caller still waits; else its thread hears of it."""
    job.outcome = job.call.hopeless()
    if job.outcome:
        job.wake()
    return job.outcome is None
