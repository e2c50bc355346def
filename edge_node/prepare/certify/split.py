"""Disjoint TUNE and CERT rows, and the order in which CERT is read."""

import numpy as np
from numpy.typing import NDArray

from edge_node.prepare.certify.evidence import Evidence, Rows
from edge_node.prepare.errors import DataError

SHARE = 5
"""One sample in so many tunes, the others certify."""
MOST = 5000
"""Samples that tune, at most: more hardly move what they choose."""


def split(count: int, groups: NDArray[np.int64] | None, seed: int) -> tuple[Rows, Rows]:
    """(TUNE rows, CERT rows), drawn by ``seed``; a group is never in both."""
    member = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(member)
    if len(sizes) < 2:
        raise DataError("all samples are of one group: there is no other to certify with")
    order = np.random.default_rng(seed).permutation(len(sizes))
    wanted = min(count // SHARE, MOST)
    taken = 1 + int(np.searchsorted(np.cumsum(sizes[order]), wanted))
    tunes = np.isin(member, order[: min(taken, len(sizes) - 1)])
    return np.flatnonzero(tunes), np.flatnonzero(~tunes)


def shuffled(evidence: Evidence, seed: int) -> Evidence:
    """The same samples in an order drawn by ``seed``, with their groups numbered in an order drawn, too."""
    draw = np.random.default_rng(seed)
    mixed = evidence.take(draw.permutation(len(evidence)))
    if mixed.groups is None:
        return mixed
    found, member = np.unique(mixed.groups, return_inverse=True)
    return Evidence(
        mixed.logits, mixed.cloud, mixed.labels, draw.permutation(len(found))[member], mixed.sizes
    )
