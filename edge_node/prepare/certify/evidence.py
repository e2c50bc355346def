"""What two models said of the same samples: checked once, held as arrays."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.prepare.errors import DataError

LEAST = 20
"""Samples; with fewer there is nothing to split."""
CHANCE = 3.0
"""Standard errors of Cohen's kappa above nil from which labels and answers belong together."""

Rows = NDArray[np.int64]
Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """A row a sample."""

    logits: NDArray[np.float32]
    """(n, classes): the edge's, before any softmax."""
    cloud: NDArray[np.int64]
    """(n,): class that the cloud answers to the decoded payload."""
    labels: NDArray[np.int64] | None = None
    """(n,): true classes."""
    groups: NDArray[np.int64] | None = None
    """(n,): what samples come from the same subject, site or clip, numbered from 0."""
    sizes: NDArray[np.int64] | None = None
    """(n,): bytes of the payload."""

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, rows: Rows) -> "Evidence":
        """The evidence of these rows."""
        return Evidence(
            self.logits[rows],
            self.cloud[rows],
            None if self.labels is None else self.labels[rows],
            None if self.groups is None else self.groups[rows],
            None if self.sizes is None else self.sizes[rows],
        )

    @property
    def usable(self) -> Truths:
        """(n,): all logits are finite; a sample without defers whatever the threshold."""
        usable: Truths = np.logical_and.reduce(np.isfinite(self.logits), axis=1)
        return usable

    @property
    def edge(self) -> NDArray[np.int64]:
        """(n,): class that the edge answers."""
        classes: Rows = np.where(np.isnan(self.logits), -np.inf, self.logits).argmax(axis=1)
        return classes

    @property
    def differs(self) -> Truths:
        """(n,): edge and cloud answer differently."""
        return np.not_equal(self.edge, self.cloud)

    @property
    def gain(self) -> NDArray[np.int64]:
        """(n,) of -1, 0, 1: cloud right - edge right; without labels 1 where they differ."""
        if self.labels is None:
            return self.differs.astype(np.int64)
        cloud, edge = np.equal(self.cloud, self.labels), np.equal(self.edge, self.labels)
        return cloud.astype(np.int64) - edge.astype(np.int64)

    def digest(self) -> str:
        """SHA-256 over all of it."""
        whole = hashlib.sha256()
        for array in (self.logits, self.cloud, self.labels, self.groups):
            whole.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()


def checked(evidence: Evidence) -> Evidence:
    """The same; ``DataError`` says why nothing can be certified with it."""
    count = len(evidence)
    for name, array in (("cloud answers", evidence.cloud), ("labels", evidence.labels),
                        ("groups", evidence.groups), ("sizes", evidence.sizes)):  # fmt: skip
        if array is not None and array.shape != (count,):
            raise DataError(f"there are {array.size} {name} for {count} samples")
    if count < LEAST:
        raise DataError(f"too few samples to certify anything: {count}, give at least {LEAST}")
    if not evidence.usable.any():
        raise DataError("the edge model gives NaN or infinite logits for every sample")
    if _are_probabilities(evidence.logits[evidence.usable]):
        raise DataError(
            "the edge model gives probabilities, not logits: certify it without its last softmax, "
            "in which confident answers tie"
        )
    if evidence.labels is not None:
        _check_labels(evidence.labels, evidence.cloud)
    return evidence


def _are_probabilities(logits: NDArray[np.float32]) -> bool:
    return bool((logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=0.02))


def _check_labels(labels: NDArray[np.int64], cloud: NDArray[np.int64]) -> None:
    """Labels that the cloud's answers have nothing to do with would make any gate look harmless."""
    if (labels == labels[0]).all():
        raise DataError(
            f"all {len(labels)} labels are class {labels[0]}: a promise from one class holds for no other"
        )
    classes = 1 + max(labels.max(), cloud.max())
    shares = [np.bincount(it, minlength=classes) / len(labels) for it in (labels, cloud)]
    chance = float(shares[0] @ shares[1])
    right = float((labels == cloud).mean())
    if right - chance <= CHANCE * np.sqrt(chance * (1 - chance) / len(labels)):
        raise DataError(
            f"the cloud model is right on {right:.1%} of the samples, as by chance: "
            "the labels are not those of these samples"
        )
