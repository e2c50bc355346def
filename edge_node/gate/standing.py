"""Whether the certificate's promise stands, for which one reason it does not, and what is done about it.

It falls when watched samples or late labels prove that the stream is not what was certified; it
comes back when they prove, on samples seen since, that it is again. It rests while so many deferrals go
unserved that what they may cost exceeds what is left; what only a budget keeps is one of them. (To say
instead that the promise is off while the pace is below the certified threshold says nothing of how much
that costs, and with a budget of just the certified share it changed 72 times in 1,000 inputs.)
"""

import hashlib
import time
from collections.abc import Callable
from math import inf, nan
from threading import RLock

import msgspec

from edge_node.gate import binomial, eprocess
from edge_node.gate.certificate import Certificate, Codec, encode
from edge_node.gate.eprocess import ALPHA, Pooled, Wealth
from edge_node.gate.estimates import Remembered, Unserved
from edge_node.gate.ground import Ground, OnAlarm
from protos.result import Reason

DELTA = 0.05
"""Probability of restoring a promise wrongly."""
MOST_ALLOWED = 0.79
"""Disagreement above which no alarm could be raised."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a standing has to remember over a restart."""

    certificate: str
    """Digest: what was learnt about another one says nothing about this."""
    ground: Ground
    level: int
    allowed: float
    seen: int
    disagreed: int
    alarm: Wealth
    clear: Wealth
    broken: Wealth
    proved: Wealth


class Uncertified:
    """The standing of a node without a certificate that holds."""

    offloads_all, turns = False, 0
    certificate = None
    risk = audits_to_detect = nan

    def __init__(self, ground: Ground, threshold: float, why: str) -> None:
        self.ground, self.threshold, self.verdict = ground, threshold, f"none: {why}"

    def suspicion(self) -> float:
        """There is nothing to suspect."""
        return 0.0

    def watched(self, score: float, *, disagrees: bool) -> None:
        """There is nothing to compare it with."""

    def labelled(self, sample: Remembered, truth: int) -> None:
        """There is nothing to compare it with."""

    def served(self, failure: Reason | None) -> None:
        """There is nothing to charge it to."""

    def sent(self, codec: Codec) -> None:
        """However it travels, nothing was promised."""


class Standing:
    """The standing of a certificate that fits the artifact. Thread-safe.

    ``limit``: the risk that the operator accepts, unserved deferrals included; ``expires``: Unix time.
    ``turns`` counts how often it was withdrawn and restored: what was counted before says nothing of now.
    """

    def __init__(
        self,
        certificate: Certificate,
        policy: OnAlarm,
        limit: float | None = None,
        expires: float = inf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.certificate, self._policy, self._expires, self._clock = certificate, policy, expires, clock
        self._points = (certificate.point, *certificate.stricter)
        self._thresholds = (*(point.threshold for point in self._points), inf)
        self.turns = 0
        self._limit = certificate.epsilon if limit is None else limit
        self._lock, self._unserved = RLock(), Unserved()
        self._pool, self._foreign = 0.0, False
        self._ground, self._level, self._allowed = Ground.VALID, 0, certificate.q0
        self._seen = self._disagreed = 0
        self._watch_level()
        self._watch_recovery()

    @property
    def verdict(self) -> str:
        """What was promised, in a sentence."""
        return self.certificate.verdict

    @property
    def threshold(self) -> float:
        """The score that is safe to keep now: the floor of the budget's controller."""
        return self._thresholds[self._level]

    @property
    def offloads_all(self) -> bool:
        """Whether nothing is kept any more."""
        return self._level == len(self._points)

    @property
    def ground(self) -> Ground:
        """Why the promise stands, or does not."""
        if self._foreign:
            return Ground.MISMATCH
        if self._ground is not Ground.VALID:
            return self._ground
        if self._clock() >= self._expires:
            return Ground.EXPIRED
        if self.risk <= self._limit:
            return Ground.VALID
        return Ground.BUDGET if self._unserved.by_budget else Ground.UNSERVED

    @property
    def risk(self) -> float:
        """Upper bound: as certified, less what was set aside for the unserved, and what they may cost."""
        certificate = self.certificate
        gain = 1.0 if certificate.mean_gain is None else max(certificate.mean_gain, 0.0)
        return certificate.epsilon - certificate.unserved + self._unserved.share * gain

    @property
    def audits_to_detect(self) -> float:
        """About how many audits, or pools of them, it takes to notice that disagreement has doubled."""
        return eprocess.audits_to_detect(
            self._allowed, min(2 * self._allowed, 1.0), seen=self._alarm.test.seen
        )

    def suspicion(self) -> float:
        """Evidence of drift: 1 is none, and 1/alpha is an alarm."""
        return self._alarm.test.value

    def pool(self, seconds: float) -> None:
        """Count what is watched within so many seconds once: where inputs are alike for half as long."""
        with self._lock:
            self._pool = seconds
            self._watch_level(self._alarm.test.wealth(), self._broken.test.wealth())
            self._watch_recovery(self._clear.test.wealth(), self._proved.test.wealth())

    def served(self, failure: Reason | None) -> None:
        """Count one input: safely kept or answered by the cloud, or the reason why neither."""
        with self._lock:
            self._unserved.add(failure)

    def sent(self, codec: Codec) -> None:
        """Nothing is promised of inputs that travel in another form than those of CERT."""
        bound = self.certificate.binding
        self._foreign |= bound is not None and bound.codec != codec

    def watched(self, score: float, *, disagrees: bool) -> None:
        """One watched input, kept or not: whether both models said the same of it."""
        now = self._clock()
        with self._lock:
            if score >= self.threshold and self._alarm.update(disagrees, now):
                self._withdraw(Ground.DRIFT)
            if self._ground is not Ground.VALID and score >= self._points[0].threshold:
                self._seen += 1
                self._disagreed += disagrees
                if self._clear.update(disagrees, now):
                    self._restore(self.certificate.q0)

    def labelled(self, sample: Remembered, truth: int) -> None:
        """A late label of a watched input."""
        if sample.selected is None:
            return
        promise = self.certificate.promise
        with self._lock:
            lost = sample.loss(promise, truth, self.threshold)
            if lost is not None and self._broken.update(lost, sample.at):
                self._withdraw(Ground.LABELS)
            lost = sample.loss(promise, truth, self._points[0].threshold)
            if self._ground is not Ground.VALID and lost is not None and self._proved.update(lost, sample.at):
                since = binomial.upper(self._disagreed, self._seen, DELTA)
                self._restore(max(self.certificate.q0, since))

    def state(self) -> State:
        """What to keep over a restart."""
        with self._lock:
            return State(
                certificate=_digest(self.certificate),
                ground=self._ground,
                level=self._level,
                allowed=self._allowed,
                seen=self._seen,
                disagreed=self._disagreed,
                alarm=self._alarm.test.wealth(),
                clear=self._clear.test.wealth(),
                broken=self._broken.test.wealth(),
                proved=self._proved.test.wealth(),
            )

    def resume(self, state: State) -> bool:
        """Go on from before the restart; whether the state was this certificate's."""
        if state.certificate != _digest(self.certificate) or state.level > len(self._points):
            return False
        self._ground, self._level, self._allowed = state.ground, state.level, state.allowed
        self._seen, self._disagreed = state.seen, state.disagreed
        self._watch_level(state.alarm, state.broken)
        self._watch_recovery(state.clear, state.proved)
        return True

    def _watch_level(self, alarm: Wealth | None = None, broken: Wealth | None = None) -> None:
        """Test anew whether the level in force is what was certified."""
        epsilon = self._points[min(self._level, len(self._points) - 1)].epsilon
        self._alarm = Pooled(eprocess.drift_alarm(min(self._allowed, MOST_ALLOWED), ALPHA, alarm), self._pool)
        self._broken = Pooled(eprocess.above(epsilon, ALPHA, broken), self._pool)

    def _watch_recovery(self, clear: Wealth | None = None, proved: Wealth | None = None) -> None:
        """Test anew whether the certified level is again what was certified."""
        q0 = min(self.certificate.q0, MOST_ALLOWED)
        self._clear = Pooled(eprocess.all_clear(q0, DELTA, clear), self._pool)
        self._proved = Pooled(eprocess.below(self.certificate.epsilon, DELTA, proved), self._pool)

    def _withdraw(self, ground: Ground) -> None:
        if self._ground is Ground.VALID:
            self._ground, self._seen, self._disagreed = ground, 0, 0
            self.turns += 1
            self._watch_recovery()
        if self._policy is OnAlarm.HOLD or self.offloads_all:
            return
        self._level = self._level + 1 if self._policy is OnAlarm.STRICTER else len(self._points)
        if not self.offloads_all:
            self._allowed = self._points[self._level].q0
            self._watch_level()

    def _restore(self, allowed: float) -> None:
        self._ground, self._level, self._allowed = Ground.VALID, 0, allowed
        self.turns += 1
        self._watch_level()


def _digest(certificate: Certificate) -> str:
    return hashlib.sha256(encode(certificate)).hexdigest()
