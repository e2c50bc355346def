"""Whether the certificate's promise stands, for which one reason it does not, and what is done about it.

It falls when watched samples or late labels prove that the stream is not what was certified; it
comes back when they prove, on samples seen since, that it is again. It rests while the budget keeps the
threshold too low, or while so many deferrals go unserved that what they may cost exceeds what is left.
"""

import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum, auto
from functools import lru_cache
from math import inf
from threading import RLock

import msgspec

from edge_node.gate import binomial
from edge_node.gate.eprocess import (
    ALPHA,
    Wealth,
    above,
    all_clear,
    audits_to_detect,
    below,
    drift_alarm,
)

DELTA = 0.05
"""Probability of restoring a promise wrongly, and of a bound on the unserved that is too low."""
UNSERVED_WINDOW = 1000
"""Inputs that the share of unserved deferrals looks back on."""
MOST_ALLOWED = 0.79
"""Disagreement above which no alarm could be raised."""

bound = lru_cache(maxsize=4096)(binomial.upper)


class Ground(StrEnum):
    """Why the promise stands or does not: the first that applies."""

    VALID = auto()
    """It stands."""
    NONE = auto()
    """There is no certificate."""
    MISMATCH = auto()
    """The certificate is for another model, preprocessing or codec."""
    DRIFT = auto()
    """Kept inputs disagree with the cloud more than they did when certified."""
    LABELS = auto()
    """Labels show that accuracy drops by more than certified."""
    EXPIRED = auto()
    """The certificate is too old."""
    BUDGET = auto()
    """The budget holds the threshold below the certified one."""
    UNSERVED = auto()
    """Too many deferrals get no answer from the cloud."""


class OnAlarm(StrEnum):
    """What follows when a promise falls."""

    STRICTER = "stricter"
    """The next stricter certified threshold; everything is offloaded when there is none left."""
    OFFLOAD_ALL = "offload_all"
    HOLD = "hold"
    """The threshold stays."""


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One certified threshold."""

    threshold: float
    disagreement: float
    """Upper confidence bound, in CERT, of how often kept inputs disagree with the cloud."""


class Promise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the run-time needs of a certificate."""

    id: str
    """Digest of the certificate: what was learnt about another one says nothing about it."""
    epsilon: float
    """Certified accuracy drop."""
    limit: float
    """Accuracy drop that the operator accepts, unserved deferrals included."""
    gain: float
    """Mean gain among deferred inputs: what one that goes unserved costs."""
    levels: tuple[Level, ...]
    """The certified threshold, then stricter ones."""
    expires: float = inf
    """Unix time."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a standing has to remember over a restart."""

    promise: str
    ground: Ground
    level: int
    allowed: float
    seen: int
    disagreed: int
    alarm: Wealth
    clear: Wealth
    broken: Wealth
    proved: Wealth


class Unserved:
    """Upper 95 % bound of the share of recent inputs whose deferral got no answer."""

    def __init__(self, size: int = UNSERVED_WINDOW) -> None:
        self._recent: deque[bool] = deque(maxlen=size)
        self._count = 0

    def add(self, *, unserved: bool) -> None:
        """Count one input."""
        if len(self._recent) == self._recent.maxlen:
            self._count -= self._recent[0]
        self._recent.append(unserved)
        self._count += unserved

    @property
    def share(self) -> float:
        """The bound; 0 as long as nobody has gone unserved: a node that starts owes nothing yet."""
        return bound(self._count, len(self._recent), DELTA) if self._count else 0.0


class Uncertified:
    """The standing of a node without a certificate that holds."""

    offloads_all = False

    def __init__(self, ground: Ground, threshold: float) -> None:
        self.ground, self.threshold = ground, threshold

    def suspicion(self) -> float:
        """There is nothing to suspect."""
        return 0.0

    def watched(self, score: float, *, disagrees: bool) -> None:
        """There is nothing to compare it with."""

    def labelled(self, score: float, gain: int) -> None:
        """There is nothing to compare it with."""

    def served(self, *, unserved: bool) -> None:
        """There is nothing to charge it to."""


class Standing:
    """The standing of a certificate that fits the artifact. Thread-safe."""

    def __init__(
        self,
        promise: Promise,
        policy: OnAlarm,
        state: State | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._promise, self._policy, self._clock = promise, policy, clock
        self._lock, self.unserved = RLock(), Unserved()
        self._keeps_pace: Callable[[], bool] = lambda: True
        self._ground, self._level, self._allowed = Ground.VALID, 0, promise.levels[0].disagreement
        self._seen = self._disagreed = 0
        self._watch_level()
        self._watch_recovery()
        if state is not None and state.promise == promise.id:
            self._resume(state)

    @property
    def threshold(self) -> float:
        """The score that is safe to keep now: the floor of the budget's controller."""
        levels = self._promise.levels
        return levels[self._level].threshold if self._level < len(levels) else inf

    @property
    def offloads_all(self) -> bool:
        """Whether nothing is kept any more."""
        return self._level == len(self._promise.levels)

    @property
    def ground(self) -> Ground:
        """Why the promise stands, or does not."""
        if self._ground is not Ground.VALID:
            return self._ground
        if self._clock() >= self._promise.expires:
            return Ground.EXPIRED
        if not self._keeps_pace():
            return Ground.BUDGET
        return Ground.UNSERVED if self.drop > self._promise.limit else Ground.VALID

    @property
    def drop(self) -> float:
        """What accuracy may be below the cloud's: as certified, and what unserved deferrals may cost."""
        return self._promise.epsilon + self.unserved.share * self._promise.gain

    @property
    def audits_to_detect(self) -> float:
        """About how many audits it takes to notice that disagreement has doubled."""
        return audits_to_detect(self._allowed, min(2 * self._allowed, 1.0), ALPHA, self._alarm.seen)

    def suspicion(self) -> float:
        """Evidence of drift: 1 is none, and 1/alpha is an alarm."""
        return self._alarm.value

    def follow(self, keeps_pace: Callable[[], bool]) -> None:
        """Who says whether the budget affords the certified threshold: ``Controller.keeps_promise``."""
        self._keeps_pace = keeps_pace

    def served(self, *, unserved: bool) -> None:
        """Count one input: kept, answered by the cloud, or deferred for nothing."""
        with self._lock:
            self.unserved.add(unserved=unserved)

    def watched(self, score: float, *, disagrees: bool) -> None:
        """One watched input, kept or not: what both models said of it."""
        certified = self._promise.levels[0].threshold
        with self._lock:
            if score >= self.threshold and self._alarm.update(disagrees):
                self._withdraw(Ground.DRIFT)
            if self._ground is not Ground.VALID and score >= certified:
                self._seen += 1
                self._disagreed += disagrees
                if self._clear.update(disagrees):
                    self._restore(self._promise.levels[0].disagreement)

    def labelled(self, score: float, gain: int) -> None:
        """A late label of one watched input: 1 if only the cloud was right, -1 if only the edge, else 0."""
        certified = self._promise.levels[0].threshold
        with self._lock:
            if self._broken.update(gain if score >= self.threshold else 0):
                self._withdraw(Ground.LABELS)
            if self._ground is not Ground.VALID and self._proved.update(gain if score >= certified else 0):
                seen = binomial.upper(self._disagreed, self._seen, DELTA)
                self._restore(max(self._promise.levels[0].disagreement, seen))

    def state(self) -> State:
        """What to keep over a restart."""
        with self._lock:
            return State(
                promise=self._promise.id,
                ground=self._ground,
                level=self._level,
                allowed=self._allowed,
                seen=self._seen,
                disagreed=self._disagreed,
                alarm=self._alarm.wealth(),
                clear=self._clear.wealth(),
                broken=self._broken.wealth(),
                proved=self._proved.wealth(),
            )

    def _resume(self, state: State) -> None:
        self._ground, self._allowed = state.ground, state.allowed
        self._level = min(state.level, len(self._promise.levels))
        self._seen, self._disagreed = state.seen, state.disagreed
        self._watch_level(state.alarm, state.broken)
        self._watch_recovery(state.clear, state.proved)

    def _watch_level(self, alarm: Wealth | None = None, broken: Wealth | None = None) -> None:
        """Test anew whether the level in force is what was certified."""
        self._alarm = drift_alarm(min(self._allowed, MOST_ALLOWED), ALPHA, alarm)
        self._broken = above(self._promise.epsilon, ALPHA, broken)

    def _watch_recovery(self, clear: Wealth | None = None, proved: Wealth | None = None) -> None:
        """Test anew whether the certified level is again what was certified."""
        self._clear = all_clear(self._promise.levels[0].disagreement, DELTA, clear)
        self._proved = below(self._promise.epsilon, DELTA, proved)

    def _withdraw(self, ground: Ground) -> None:
        if self._ground is Ground.VALID:
            self._ground, self._seen, self._disagreed = ground, 0, 0
            self._watch_recovery()
        levels = self._promise.levels
        if self._policy is OnAlarm.HOLD or self.offloads_all:
            return
        self._level = self._level + 1 if self._policy is OnAlarm.STRICTER else len(levels)
        if not self.offloads_all:
            self._allowed = levels[self._level].disagreement
            self._watch_level()

    def _restore(self, allowed: float) -> None:
        self._ground, self._level, self._allowed = Ground.VALID, 0, allowed
        self._watch_level()
