"""Arrays in, a certificate or none out: no files, no models."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.certificate import Certificate, Step
from edge_node.prepare.certify import outcome, testing
from edge_node.prepare.certify.evidence import Evidence, checked
from edge_node.prepare.certify.outcome import NoCertificate, Sequence, Tested
from edge_node.prepare.certify.promises import Trial, costs
from edge_node.prepare.certify.question import Question
from edge_node.prepare.certify.split import shuffled, split
from edge_node.prepare.certify.tuning import Tuned, tuned


def certify(evidence: Evidence, question: Question | None = None) -> Certificate | NoCertificate:
    """Split, tune, certify; ``DataError`` says why the evidence cannot be used."""
    question = question or Question()
    found = checked(evidence)
    tune, cert = split(len(found), found.groups, question.seed)
    return certify_with(tuned(found.take(tune), seed=question.seed), found.take(cert), question)


def certify_with(choice: Tuned, cert: Evidence, question: Question) -> Certificate | NoCertificate:
    """Test the grid on CERT; ``cert`` in any order: it is read in one drawn by the question's seed."""
    cert = shuffled(cert, question.seed)
    trial = trial_of(choice, cert, question)
    sequences = {
        epsilon: _sequence(choice, trial, epsilon - question.unserved, delta)
        for epsilon, delta in question.levels.items()
    }
    return outcome.of(Tested(choice, trial, cert, question, sequences))


def trial_of(choice: Tuned, cert: Evidence, question: Question) -> Trial:
    """These samples in the order given, ready to be tested."""
    promise = question.promise or ("disagreement" if cert.labels is None else "drop")
    units = cert.groups if question.per_group else None
    return Trial(promise, choice.scores(cert.logits), costs(promise, cert), units)


def _sequence(choice: Tuned, trial: Trial, epsilon: float, delta: float) -> Sequence:
    grid = choice.grid[_start(choice, trial, epsilon) :]
    found = testing.fixed_sequence(lambda at: trial.p_value(grid[at], epsilon, delta), len(grid), delta)
    return Sequence(delta, tuple(map(partial(_step, trial), grid, found)))


def _start(choice: Tuned, trial: Trial, epsilon: float) -> int:
    """Where on the grid to begin, by TUNE alone.

    A share of the *kept* answers needs some to be kept: where the test has the best odds on as many
    samples as CERT has.
    """
    if trial.promise != "selective":
        return 0
    values, wrong = choice.scores(choice.tune.logits), costs("selective", choice.tune)
    scale = len(trial.scores) / len(wrong)
    return int(np.argmin([_odds(wrong[values >= threshold], scale, epsilon) for threshold in choice.grid]))


def _odds(wrong: NDArray[np.int64], scale: float, epsilon: float) -> float:
    count = int(len(wrong) * scale)
    expected = (int(wrong.sum()) + 0.5) / (len(wrong) + 1)
    return testing.binomial_p(round(expected * count), count, epsilon)


def _step(trial: Trial, threshold: float, p_value: float) -> Step:
    kept = trial.kept(threshold)
    return Step(
        threshold=threshold,
        kept=int(kept.sum()),
        bad=int((trial.costs[kept] > 0).sum()),
        good=int((trial.costs[kept] < 0).sum()),
        p_value=min(1.0, p_value),
    )
