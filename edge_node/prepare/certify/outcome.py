"""From the tests that were made to a certificate, or to why there is none."""

from dataclasses import dataclass

import numpy as np

from edge_node.gate import binomial
from edge_node.gate.certificate import Certificate, Point, Step
from edge_node.prepare.certify import testing, words
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.certify.promises import Trial
from edge_node.prepare.certify.question import Question
from edge_node.prepare.certify.tuning import Tuned

BASELINE = 0.01
"""Probability that ``q0`` is too low: an alarm that is wrong from the start is worse than a later one."""


@dataclass(frozen=True)
class NoCertificate:
    """Nothing could be promised, and why."""

    verdict: str
    tightest: float | None
    """Smallest epsilon that CERT carries at the strictest threshold; none: not even a half."""
    n: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Sequence:
    """Tests of one epsilon."""

    delta: float
    steps: tuple[Step, ...]

    @property
    def threshold(self) -> float | None:
        """The loosest that was certified."""
        last = testing.loosest([step.p_value for step in self.steps], self.delta)
        return None if last is None else self.steps[last].threshold


@dataclass(frozen=True)
class Tested:
    """CERT, in the order in which it was read, and all tests on it."""

    choice: Tuned
    trial: Trial
    cert: Evidence
    question: Question
    sequences: dict[float, Sequence]
    """By epsilon."""


def of(tested: Tested) -> Certificate | NoCertificate:
    """The certificate for the asked epsilon, or for the least of the looser ones that holds, or none."""
    points = [
        _point(tested, epsilon, found.delta, found.threshold)
        for epsilon, found in sorted(tested.sequences.items())
        if found.threshold is not None
    ]
    held = next((point for point in points if point.epsilon >= tested.question.epsilon), None)
    if held is None:
        return _refusal(tested)
    return _certificate(tested, held, tuple(it for it in reversed(points) if it.epsilon < held.epsilon))


def _point(tested: Tested, epsilon: float, delta: float, threshold: float) -> Point:
    cert, kept = tested.cert, tested.trial.kept(threshold)
    sizes = np.ones(len(cert)) if cert.sizes is None else cert.sizes
    return Point(
        epsilon=epsilon,
        delta=delta,
        threshold=threshold,
        offload=float((~kept).mean()),
        bytes=float(sizes[~kept].sum() / sizes.sum()),
        q0=binomial.upper(int(cert.differs[kept].sum()), int(kept.sum()), BASELINE),
    )


def _certificate(tested: Tested, held: Point, stricter: tuple[Point, ...]) -> Certificate:
    choice, trial, cert, question = tested.choice, tested.trial, tested.cert, tested.question
    deferred = ~trial.kept(held.threshold)
    labelled = cert.labels is not None
    return Certificate(
        verdict=words.verdict(trial.promise, held, question.delta),
        warnings=tuple(words.warnings(choice.temperature, trial, cert, held, question)),
        promise=trial.promise,
        epsilon=held.epsilon,
        delta=question.delta,
        unserved=question.unserved,
        method=trial.method,
        unit="group" if question.per_group else "sample",
        score=choice.score,
        temperature=choice.temperature,
        threshold=held.threshold,
        grid=choice.grid,
        quantiles=choice.quantiles(),
        steps=tested.sequences[held.epsilon].steps,
        tune=len(choice.tune),
        n=len(cert),
        groups=None if cert.groups is None else len(np.unique(cert.groups)),
        design_effect=None if cert.groups is None else trial.design_effect(held.threshold, cert.groups),
        unusable=int((~cert.usable).sum()),
        ties=float((trial.scores == held.threshold).mean()),
        seed=question.seed,
        offload=held.offload,
        bytes=held.bytes,
        payload=None if cert.sizes is None else float(cert.sizes.mean()),
        q0=held.q0,
        edge_accuracy=float((cert.edge == cert.labels).mean()) if labelled else None,
        cloud_accuracy=float((cert.cloud == cert.labels).mean()) if labelled else None,
        mean_gain=float(cert.gain[deferred].mean()) if labelled and deferred.any() else None,
        stricter=stricter,
        cert_sha256=cert.digest(),
    )


def _refusal(tested: Tested) -> NoCertificate:
    trial, question = tested.trial, tested.question
    found = tested.sequences[question.epsilon]
    first = found.steps[0]
    tightest = trial.tightest(first.threshold, found.delta)
    needed = testing.least_samples(trial.method, question.epsilon - question.unserved, found.delta)
    reason = words.refusal(first, len(tested.choice.grid), trial.evidence, needed, question)
    return NoCertificate(
        words.no_certificate(reason, tightest, question.unserved), tightest, len(tested.cert), found.steps
    )
