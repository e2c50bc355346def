"""Answers that come late: the edge's is out as provisional, the cloud's follows as final, whenever it can.

The input is held in the outbox from the transaction of its provisional result to that of its final one,
so that a crash leaves it either held or answered. Within a process the courier alone makes final results
of what is held, and knows which inputs it has in hand: none is asked twice at once or finished twice.

How a pipeline uses it, for a sample that the gate defers::

    held = courier.hold(provisional, sample.started, payload)  # in hand from here on
    publisher.publish(provisional, place=sample.place, hold=held)
    courier.ask(provisional, sample.started, deferral)         # at once, like any other deferral

and it is carried by one ``correct(provisional, started, outcome) -> seq``, which publishes the final
result with ``release=provisional.id``. Open it after the fallback and the outbox; leave it before them.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Protocol, Self

from edge_node import promise
from edge_node.fallback.deferral import Deferral, Done, Fallback, Outcome
from edge_node.outbox import Held
from edge_node.promise import Promise
from protos.codec import Tensor
from protos.result import Reason, Result

DEADLINE = 10.0
"""Seconds that a held input may take: nobody waits for it."""
PAUSE = (0.1, 5.0)
"""Seconds after an attempt in vain, at first and at most."""
BATCH, SURPLUS = 16, 256
"""Inputs read from the disk at a time: to be asked about, and to be given up."""
IDLE = 1.0
"""Seconds between looks for what has been held meanwhile, and what has to be given up."""
ATTEMPTS = 3
"""A cloud that refuses an input so often will not answer it ever."""

Correct = Callable[[Result, float, Outcome], int]
"""Publishes the final result of a provisional one and lets its input go; gives its number."""


class Store(Protocol):
    """What the courier needs of an outbox."""

    def held(self, limit: int) -> list[Held]: ...
    def surplus(self, limit: int) -> list[Held]: ...
    def committed(self) -> int: ...


class Courier:
    """Brings each held input to the cloud, the least certain first, one at a time and behind all others.

    Without a store nothing is held: what the cloud does not answer at once is final as the edge said it.
    """

    def __init__(self, store: Store | None, fallback: Fallback, model: str) -> None:
        """``model``: SHA-256 of the edge model: the labels and payloads of another's inputs may differ."""
        self._store, self._fallback, self._model = store, fallback, model
        self._lock = Lock()
        self._in_hand: dict[str, int | None] = {}
        """Id -> number of its final result, whose transaction may not be over; None before there is one."""
        self._refusals: Counter[str] = Counter()
        self._batch: deque[Held] = deque()
        self._behind: set[str] = set()
        """Sent in vain: behind all others, for once."""
        self._owed: dict[str, Held] = {}
        """No longer on the disk while their first attempt is under way: nobody but us knows of them."""
        self._last = Outcome(Reason.CLOUD_TIMEOUT)
        self._pause, self._asking, self._tidy_at = 0.0, False, 0.0
        """Pause: seconds after the last attempt, if that was in vain."""
        self._wake, self._stopping = Event(), Event()

    def carry(self, correct: Correct) -> None:
        """Who publishes; said once, before all else."""
        self._correct = correct

    def __enter__(self) -> Self:
        """Begin with what is still held from before."""
        if self._store:
            self._thread = Thread(target=self._run, args=[self._store], name="courier", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask no more; what is under way may still be answered."""
        self._stopping.set()
        self._wake.set()
        if self._store:
            self._thread.join()

    def hold(self, provisional: Result, started: float, payload: Tensor) -> Held | None:
        """What the outbox is to keep with a provisional result; ``ask`` must follow."""
        if self._store is None:
            return None
        with self._lock:
            self._in_hand[provisional.id] = None
        return promise.hold(provisional, started, payload)

    def ask(
        self, provisional: Result, started: float, deferral: Deferral, learn: Done = lambda _: None
    ) -> None:
        """Ask for the first time, as for any sample, and ``learn`` from it; in vain, it has to wait."""

        def heard(outcome: Outcome) -> None:
            learn(outcome)
            self._heard(provisional, started, outcome)

        self._fallback.submit(deferral, heard)

    def _heard(self, provisional: Result, started: float, outcome: Outcome) -> None:
        if outcome.reason is Reason.CLOUD_ERROR:
            self._refusals[provisional.id] += 1
        hopeless = self._store is None or self._refusals[provisional.id] >= ATTEMPTS
        if outcome.reason in {Reason.CLOUD, Reason.EDGE_ONLY} or hopeless:
            return self._finish(provisional, started, outcome)
        self._last = outcome
        with self._lock:
            del self._in_hand[provisional.id]
        return None

    def _finish(self, provisional: Result, started: float, outcome: Outcome) -> None:
        seq = self._correct(provisional, started, outcome)
        self._refusals.pop(provisional.id, None)
        if self._store:
            with self._lock:
                self._in_hand[provisional.id] = seq

    def _run(self, store: Store) -> None:
        while not self._stopping.wait(self._pause):
            self._wake.wait(IDLE)
            self._wake.clear()
            if time.monotonic() >= self._tidy_at:
                self._give_up(store)
                self._tidy_at = time.monotonic() + IDLE
            if not self._asking and not self._stopping.is_set():
                self._ask_next(store)

    def _ask_next(self, store: Store) -> None:
        while held := self._next(store):
            if waiting := self._take(held):
                deferral = Deferral(held.id, waiting.payload(), time.monotonic() + DEADLINE, held=True)
                self._asking = True
                return self._fallback.submit(deferral, partial(self._returned, waiting))
        return None

    def _returned(self, waiting: Promise, outcome: Outcome) -> None:
        """Go on at once with the next, or after a pause that grows."""
        self._heard(waiting.provisional, waiting.started, outcome)
        answered = outcome.reason in {Reason.CLOUD, Reason.CLOUD_ERROR}
        self._pause = 0.0 if answered else min(2 * self._pause or PAUSE[0], PAUSE[1])
        if not answered:
            self._batch.clear()
        if outcome.seconds is not None and outcome.reason is not Reason.CLOUD:
            self._behind.add(waiting.provisional.id)
        self._asking = False
        self._wake.set()

    def _next(self, store: Store) -> Held | None:
        """The least certain of those that nobody has in hand."""
        if not self._batch:
            self._forget_committed(store)
            passed = len(self._in_hand) + len(self._behind)
            found = store.held(passed + (1 if self._pause else BATCH))
            self._batch.extend(it for it in found if it.id not in self._in_hand and it.id not in self._behind)
            if not self._batch or len(self._behind) > BATCH:
                self._behind.clear()
        return self._batch.popleft() if self._batch else None

    def _give_up(self, store: Store) -> None:
        """What is held too long, or does not fit any more, is final as the edge said it."""
        for name in [name for name in self._owed if self._in_hand.get(name) is not None]:
            del self._owed[name]  # answered meanwhile
        self._forget_committed(store)
        surplus = {held.id: held for held in store.surplus(SURPLUS + len(self._in_hand))}
        for held in [*surplus.values(), *(self._owed[name] for name in self._owed.keys() - surplus.keys())]:
            if self._in_hand.get(held.id, 0) is None:
                self._owed[held.id] = held
            elif held.id not in self._in_hand:
                self._abandon(held)

    def _abandon(self, held: Held) -> None:
        self._owed.pop(held.id, None)
        self._batch.clear()  # it may be in there
        if waiting := self._take(held):
            error = f"held too long, or no room to hold it: {self._last.error or self._last.reason}"
            self._finish(waiting.provisional, waiting.started, Outcome(self._last.reason, error=error))

    def _take(self, held: Held) -> Promise | None:
        """Have an input in hand; None if there is nothing left to ask."""
        with self._lock:
            self._in_hand[held.id] = None
        waiting = promise.read(held)
        if waiting.provisional.model.sha256 == self._model:
            return waiting
        outcome = Outcome(Reason.CLOUD_ERROR, error="the edge model has changed since")
        self._finish(waiting.provisional, waiting.started, outcome)
        return None

    def _forget_committed(self, store: Store) -> None:
        """What is let go on the disk will not be read from it again. Only the thread that reads forgets."""
        committed = store.committed()
        with self._lock:
            gone = [name for name, seq in self._in_hand.items() if seq is not None and seq <= committed]
            for name in gone:
                if name not in self._owed:
                    del self._in_hand[name]
