"""Whether it pays to ask the cloud: an offload whose expected gain is nil is not made.

The gain of asking is what the cloud gets right and the edge does not, less what the edge gets right
and the cloud does not, among deferred samples of like score. What is known of it:

- At first, what the certificate's data showed.
- Without labels: edge and cloud differ at least as often as the gain. Where they say the same of all
  but a few, there is nothing to gain, and that is proof. More cannot be proved without labels: on
  degraded photos the two differ often, each as wrong as the other, and nothing but the truth shows it.
  The models' own confidence does not: it promises 2 and 4 points on noisy and blurred photos and 4 on
  clean ones; the truth is -3, 2 and 10 (docs/reports/certificate-benefit.md).
- With late labels: the gain itself.

It is stopped by proof that the gain is less than the ``LEAST``, by betting (``eprocess``), and
not by an average that looks low today: so it does not flap. A share of what is stopped is still sent,
so that proof can go on. It resumes by proof of a gain, or, as labels may never come again, by proof
that the two models differ more or less often than they did when it was stopped: then the stream is another.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import isnan
from threading import Lock
from typing import Self

from edge_node.gate import binomial
from edge_node.gate.audit import selected
from edge_node.gate.certificate import Certificate
from edge_node.gate.eprocess import EProcess, Pooled, above, all_clear, below, drift_alarm, ratio_bets

LEAST = 0.05
"""Gain that an offload must have: 20 calls for one answer put right."""
STOP, RESUME, CHANGE = 0.01, 0.05, 0.01
"""Probability of a wrong stop, of a wrong resumption, of seeing another stream where there is none.

A wrong stop costs accuracy, and only the probes can undo it; a stop that comes late costs bytes.
"""
PROBES = 0.05
"""Share of the stopped offloads that are still made."""


class Bin:
    """Deferred samples of like score."""

    def __init__(self, gain: float, pool: float) -> None:
        self.prior, self._pool = gain, pool
        self.restart()

    def restart(self) -> None:
        """Believe the certificate's data again."""
        self.stopped = self.prior <= 0
        self.seen = self.differed = self.labelled = self.gained = 0
        self._changed: tuple[Pooled, ...] = ()
        self._test()

    @property
    def gain(self) -> float:
        """Expected gain: measured as soon as there is a label, the certificate's until then."""
        return self.gained / self.labelled if self.labelled else self.prior

    def answered(self, at: float, *, differs: bool) -> None:
        """The cloud has answered: a gain is possible only where it differs."""
        self.seen += 1
        self.differed += differs
        if not self.stopped:
            if self._agree.update(differs, at):
                self._stop()
        elif any(tuple(test.update(differs, at) for test in self._changed)):  # each of them must see it
            self.restart()

    def label(self, at: float, gain: int) -> None:
        """What was gained by one answer: 1, 0 or -1."""
        self.labelled += 1
        self.gained += gain
        if not self.stopped:
            if self._nil.update(gain, at):
                self._stop()
        elif self._pays.update(gain, at):
            self.stopped = False
            self._test()

    def _test(self) -> None:
        self._agree, self._nil = (Pooled(below(LEAST, STOP), self._pool) for _ in range(2))
        self._pays = Pooled(above(LEAST, RESUME), self._pool)

    def _stop(self) -> None:
        """Stop; what is proved holds for a stream on which the two models differ as often as now."""
        self.stopped = True
        self._test()
        low = binomial.lower(self.differed, self.seen, CHANGE)
        high = binomial.upper(self.differed, self.seen, CHANGE)
        self._changed = tuple(Pooled(test, self._pool) for test in (*_rise(high), *_fall(low)))


def _rise(share: float) -> tuple[EProcess, ...]:
    """A test of a larger share than this, where one can be."""
    return (drift_alarm(share, CHANGE),) if ratio_bets(share) else ()


def _fall(share: float) -> tuple[EProcess, ...]:
    """A test of a smaller share than this, where there is one."""
    return (all_clear(share, CHANGE),) if share > 0 else ()


class Benefit:
    """The measured benefit of offloading, by score. Thread-safe."""

    def __init__(self, key: bytes, edges: Sequence[float], gains: Sequence[float], pool: float = 0.0) -> None:
        """``gains[i]``: mean gain of CERT samples with scores from ``edges[i - 1]`` to below ``edges[i]``."""
        if len(gains) != len(edges) + 1:
            raise ValueError(f"{len(edges)} edges make {len(edges) + 1} bins, not {len(gains)}")
        self._key, self._edges, self._lock = key, tuple(edges), Lock()
        self.bins = [Bin(gain, pool) for gain in gains]

    @classmethod
    def of(cls, key: bytes, certificate: Certificate, pool: float = 0.0) -> Self:
        """What a certificate knows: of samples below its threshold, and of those above."""
        below_it = 1.0 if certificate.mean_gain is None else certificate.mean_gain
        return cls(key, [certificate.threshold], [below_it, certificate.epsilon], pool)

    def pays(self, request_id: str, score: float) -> bool:
        """Whether to make an offload: it is expected to gain, or it is one of the probes."""
        return not self._bin(score).stopped or selected(self._key, f"probe {request_id}", PROBES)

    def gain(self, score: float) -> float:
        """Expected gain of an offload."""
        return self._bin(score).gain

    def answered(self, score: float, *, differs: bool, at: float = 0.0) -> None:
        """The cloud has answered a sample, at a moment in seconds."""
        with self._lock:
            self._bin(score).answered(at, differs=differs)

    def labelled(self, score: float, gain: int, at: float = 0.0) -> None:
        """A late label of a sample that the cloud had answered at that moment."""
        with self._lock:
            self._bin(score).label(at, gain)

    def _bin(self, score: float) -> Bin:
        """NaN is in the first bin: it is the least certain."""
        return self.bins[bisect_right(self._edges, score) if not isnan(score) else 0]
