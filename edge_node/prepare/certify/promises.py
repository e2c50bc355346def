"""What can be promised, and how each promise is tested on CERT."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.certificate import Method, Promise
from edge_node.prepare.certify.evidence import Evidence, Truths
from edge_node.prepare.certify.testing import betting_p, binomial_p
from edge_node.prepare.errors import DataError

WIDEST = 500
"""Thousandths: no wider epsilon is worth a word."""


@dataclass(frozen=True)
class Trial:
    """The samples of CERT, in the order in which they are read, ready to be tested at any threshold."""

    promise: Promise
    scores: NDArray[np.float64]
    """(n,)"""
    costs: NDArray[np.int64]
    """(n,): what keeping the sample costs, -1, 0 or 1."""
    groups: NDArray[np.int64] | None = None
    """(n,): counted as one piece of evidence each; none: each sample is one."""

    @property
    def method(self) -> Method:
        """Exact binomial where a sample either counts or does not."""
        return "betting" if self.promise == "drop" or self.groups is not None else "binomial"

    @property
    def evidence(self) -> int:
        """Independent pieces of it."""
        return len(self.scores) if self.groups is None else len(np.unique(self.groups))

    def kept(self, threshold: float) -> Truths:
        """(n,): NaN is never kept."""
        return self.scores >= threshold

    def p_value(self, threshold: float, epsilon: float, delta: float) -> float:
        """Of "at this threshold the risk is above epsilon"."""
        kept = self.kept(threshold)
        if self.method == "binomial":
            count = int(kept.sum()) if self.promise == "selective" else len(kept)
            return binomial_p(int(self.costs[kept].sum()), count, epsilon)
        losses: NDArray[np.float64] = np.where(kept, self.costs, 0.0)
        if self.promise == "selective":  # a share of the kept: each error less epsilon is nil on the mean
            losses[kept] -= epsilon
            return betting_p(self._units(losses), 0.0, delta, -epsilon, 1 - epsilon)
        return betting_p(self._units(losses), epsilon, delta, -1.0 if self.promise == "drop" else 0.0)

    def tightest(self, threshold: float, delta: float) -> float | None:
        """Smallest epsilon, in tenths of a point, from which on all are certified at this threshold."""
        found = None
        for thousandths in range(WIDEST, 0, -1):
            if self.p_value(threshold, thousandths / 1000, delta) > delta:
                break
            found = thousandths / 1000
        return found

    def _units(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean loss of each group, in the order of their numbers, which is drawn at random."""
        if self.groups is None:
            return losses
        _, member = np.unique(self.groups, return_inverse=True)
        return np.asarray(np.bincount(member, losses) / np.bincount(member))

    def design_effect(self, threshold: float, groups: NDArray[np.int64]) -> float:
        """Variance of the mean loss if a group is drawn as a whole, over that if samples are (Kish 1965)."""
        losses: NDArray[np.float64] = np.where(self.kept(threshold), self.costs, 0.0)
        if not losses.var():
            return 1.0
        _, member = np.unique(groups, return_inverse=True)
        totals = np.bincount(member, losses - losses.mean())
        return float((totals**2).sum() / (len(losses) * losses.var()))


def costs(promise: Promise, evidence: Evidence) -> NDArray[np.int64]:
    """(n,): what keeping a sample costs; ``DataError`` if only labels could tell and there are none."""
    if promise == "disagreement":
        return evidence.differs.astype(np.int64)
    if evidence.labels is None:
        raise DataError(
            f"a promise of {promise} takes labels; without them only disagreement can be certified"
        )
    if promise == "drop":
        return evidence.gain
    wrong = np.not_equal(evidence.edge, evidence.labels)
    spoilt = wrong & np.equal(evidence.cloud, evidence.labels)
    return (spoilt if promise == "harm" else wrong).astype(np.int64)
