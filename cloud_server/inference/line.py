"""Who waits for a run, in the order in which they get one: by priority, then fairly among identities.

Fair is by what is asked, not by how often: each identity's requests are numbered by what they cost, one
after another, and the lowest number goes first. Who has not asked for long begins where the others are.
"""

from bisect import bisect_left, insort
from collections.abc import Container
from dataclasses import dataclass, field
from operator import attrgetter
from threading import Lock

from cloud_server.inference.call import Call
from cloud_server.inference.model import Done, Work

_ORDER = attrgetter("order")


@dataclass(slots=True, eq=False)
class Job:
    """A request in line, from its thread's side and from that of whoever runs it."""

    work: Work
    call: Call
    order: tuple[int, float, int] = (0, 0.0, 0)
    woken: Lock = field(default_factory=Lock)
    outcome: Done | Exception | None = None
    """There once it has been run, or will not be."""

    def __post_init__(self) -> None:
        self.woken.acquire()

    @property
    def cost(self) -> float:
        """Seconds that its run takes."""
        return self.work.plan.samples * self.work.model.sizing.seconds

    def wake(self) -> None:
        """Let its thread go on."""
        self.woken.release()


class Line:
    """Not thread-safe: whoever has it has a lock."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        """In order."""
        self._reached: dict[str | None, float] = {}
        self._now, self._count = 0.0, 0

    def push(self, job: Job) -> None:
        """To the place that is its own."""
        _, at, self._count = job.order = self._order(job)
        self._reached[job.call.identity] = at + job.cost
        insort(self.jobs, job, key=_ORDER)

    def ahead(self, job: Job) -> float:
        """Seconds of work that come before it, if it were to come in now."""
        return sum(it.cost for it in self.jobs[: bisect_left(self.jobs, self._order(job), key=_ORDER)])

    def _order(self, job: Job) -> tuple[int, float, int]:
        return job.call.priority, max(self._now, self._reached.get(job.call.identity, 0.0)), self._count + 1

    def pop(self, but: Container[object] = ()) -> Job | None:
        """Whose turn it is, kinds that are excepted aside."""
        for at, job in enumerate(self.jobs):
            if job.work.plan.kind not in but:
                return self._remove(at)
        return None

    def samples(self, kind: object) -> int:
        """In line, of a kind."""
        return sum(job.work.plan.samples for job in self.jobs if job.work.plan.kind == kind)

    def remove(self, job: Job) -> bool:
        """Whether it was still in line; it is no more."""
        at = bisect_left(self.jobs, job.order, key=_ORDER)
        if at == len(self.jobs) or self.jobs[at] is not job:
            return False
        self._remove(at)
        return True

    def take(self, kind: object, room: int) -> list[Job]:
        """Those of a kind, as they come in line and as far as they fit."""
        taken: list[Job] = []
        for job in [it for it in self.jobs if it.work.plan.kind == kind]:
            if job.work.plan.samples <= room:
                room -= job.work.plan.samples
                taken.append(job)
        for job in taken:
            self.remove(job)
        return taken

    def _remove(self, at: int) -> Job:
        job = self.jobs.pop(at)
        if not self.jobs:
            self._reached.clear()
            self._now = 0.0
        else:
            self._now = max(self._now, job.order[1])
        return job
