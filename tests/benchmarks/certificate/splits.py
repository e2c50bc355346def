"""Ways to choose a threshold, tried on many random splits of samples whose truth is known."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.certificate.bank import Bank

Rows = NDArray[np.int64]
Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]


class Rule(NamedTuple):
    """Keep a sample where ``score(logits) >= threshold``; at an infinite threshold nothing was certified."""

    score: Score
    threshold: float
    name: str = "msp"


Certify = Callable[[Bank, float], Rule]
"""(CERT, epsilon) -> rule."""
Method = Callable[[Bank, int], Certify]
"""(TUNE, seed): what can be decided before CERT is seen."""


class Split(NamedTuple):
    """Rows of a bank, disjoint; ``truth`` stands for the world that the rule is judged by."""

    tune: Rows
    cert: Rows
    test: Rows
    truth: Rows


@dataclass(frozen=True)
class Outcome:
    """What a rule does, as shares."""

    offload: float
    """On TEST."""
    drop: float
    """Accuracy of the cloud less that of the hybrid, on TEST."""
    true_drop: float
    true_offload: float
    certified: bool
    oracle: float
    """Smallest offload that keeps the promise in truth, with the same score: nobody can know it."""
    score: str


def divided(count: int, tune: int, cert: int, repeats: int) -> Iterator[Split]:
    """Random TUNE, CERT and TEST; the truth is CERT and TEST together, which CERT was drawn from."""
    for seed in range(repeats):
        order = np.random.default_rng(seed).permutation(count)
        yield Split(order[:tune], order[tune : tune + cert], order[tune + cert :], order[tune:])


def drawn(count: int, tune: int, cert: int, repeats: int) -> Iterator[Split]:
    """CERT drawn with replacement: the bank less TUNE is then the world itself, and its risk exact."""
    for seed in range(repeats):
        random = np.random.default_rng(seed)
        order = random.permutation(count)
        world = order[tune:]
        yield Split(order[:tune], random.choice(world, cert), world, world)


def tried(
    bank: Bank, splits: Iterable[Split], methods: Mapping[str, Method], epsilons: Sequence[float]
) -> dict[float, dict[str, list[Outcome]]]:
    """Every method on every split."""
    outcomes: dict[float, dict[str, list[Outcome]]] = {
        epsilon: {name: [] for name in methods} for epsilon in epsilons
    }
    for seed, split in enumerate(splits):
        tune, cert = bank.take(split.tune), bank.take(split.cert)
        for name, method in methods.items():
            certify = method(tune, seed)
            for epsilon, by_method in outcomes.items():
                by_method[name].append(judged(bank, split, certify(cert, epsilon), epsilon))
    return outcomes


def judged(bank: Bank, split: Split, rule: Rule, epsilon: float) -> Outcome:
    """What the rule does on TEST and in truth."""
    test, truth = bank.take(split.test), bank.take(split.truth)
    scores = rule.score(truth.edge)
    offload, drop = _applied(rule.score(test.edge), gain(test), rule.threshold)
    true_offload, true_drop = _applied(scores, gain(truth), rule.threshold)
    best = oracle(scores, gain(truth), epsilon)
    return Outcome(offload, drop, true_drop, true_offload, bool(np.isfinite(rule.threshold)), best, rule.name)


def gain(bank: Bank) -> NDArray[np.float64]:
    """(n,) of -1, 0, 1: what the cloud is better by."""
    return bank.cloud_right.astype(np.float64) - bank.edge_right


def oracle(scores: NDArray[np.float64], gains: NDArray[np.float64], epsilon: float) -> float:
    """Smallest share to offload, the least certain first, so that the others cost epsilon at most."""
    order = np.argsort(scores, kind="stable")
    kept = np.concatenate([[gains.sum()], gains.sum() - np.cumsum(gains[order])]) / len(gains)
    return float(np.argmax(kept <= epsilon)) / len(gains)


def _applied(
    scores: NDArray[np.float64], gains: NDArray[np.float64], threshold: float
) -> tuple[float, float]:
    """(share offloaded, accuracy drop)."""
    kept = scores >= threshold
    return float(1 - kept.mean()), float((kept * gains).mean())
