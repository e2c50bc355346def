"""What a certificate says to a person: one sentence each."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.certificate import Point, Promise, Step
from edge_node.prepare.certify import temperature as scaling
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.certify.promises import Trial
from edge_node.prepare.certify.question import Question

PROMISES: dict[Promise, str] = {
    "drop": "answers within {0} of the cloud model",
    "harm": "is wrong where the cloud model is right in at most {0} of the inputs",
    "disagreement": "gives the cloud model's own answer but for {0} of the inputs",
    "selective": "has at most {0} wrong among the answers that the edge gives itself",
}
"""What is promised of Tidegate."""
MANY_TIES = 0.01
ALIKE = 1.5
"""Design effect from which samples of one group can no longer pass for independent."""
Z = 1.644854
"""Standard errors that 95 % lie below."""


def points(share: float) -> str:
    """Of accuracy: ``1.0 point``."""
    value = f"{100 * share:.2f}".removesuffix("0")
    return f"{value} point{'' if float(value) == 1 else 's'}"


def percent(share: float) -> str:
    """``1 %``."""
    return f"{100 * share:.3g} %"


def verdict(promise: Promise, held: Point, delta: float) -> str:
    """The promise, as its reader will quote it."""
    size = points(held.epsilon) if promise == "drop" else percent(held.epsilon)
    what = PROMISES[promise].format(size)
    sends = f"sending {round(100 * held.bytes)} % of its bytes" if held.offload else "sending nothing"
    return f"With {percent(1 - delta)} confidence, on inputs like these, Tidegate {what} while {sends}."


def warnings(
    temperature: float, trial: Trial, cert: Evidence, held: Point, question: Question
) -> Iterator[str]:
    """What a reader of the verdict should know."""
    if held.epsilon != question.epsilon:
        yield f"{percent(question.epsilon)} was asked and is not certified; this is {percent(held.epsilon)}"
    if scaling.at_a_bound(temperature):
        yield f"temperature {temperature:.3g} is as far as it may go: TUNE is separable, or too small"
    if unusable := int((~cert.usable).sum()):
        yield f"{unusable} of {len(cert)} samples have NaN or infinite logits: they are always deferred"
    if (ties := float((trial.scores == held.threshold).mean())) > MANY_TIES:
        yield f"{percent(ties)} of the samples score exactly the threshold: it cannot be set any finer"
    if cert.groups is not None and trial.groups is None:
        yield from _alike(trial.design_effect(held.threshold, cert.groups), cert.groups)
    if cert.labels is not None and not _pays(cert):
        yield "the cloud model is no better than the edge on these samples: what is offloaded buys little"


def rivals(count: int) -> Iterator[str]:
    """Of models that were judged by the same samples."""
    if count:
        pairs = "another pair of models" if count == 1 else f"{count} other pairs of models"
        yield f"these samples have judged {pairs} before: whoever ships the best of several was promised less"


def _alike(effect: float, groups: NDArray[np.int64]) -> Iterator[str]:
    yield f"the promise is for further samples of these {len(np.unique(groups))} groups, not for new ones"
    if effect > ALIKE:
        yield f"samples of a group are alike (design effect {effect:.1f}): the promise is weaker than it says"


def _pays(cert: Evidence) -> bool:
    """Whether the cloud is right more often, by more than chance."""
    gain = cert.gain
    return bool(gain.mean() > Z * gain.std() / np.sqrt(len(gain)))


def refusal(first: Step, grid: int, evidence: int, needed: int, question: Question) -> str:
    """Why the first test could not be rejected."""
    asked = f"{percent(question.epsilon)} with {percent(1 - question.delta)} confidence"
    if evidence < needed:
        kind = "groups" if question.per_group else "samples"
        return f"{asked} takes at least {needed} {kind} to certify with, here are {evidence}"
    if grid == 1:
        return f"all scores are {first.threshold:g}: nothing tells a sure answer from an unsure one"
    return f"{asked}: too much is wrong ({first.bad} of {first.kept} kept) even where the edge is surest"


def no_certificate(reason: str, tightest: float | None, unserved: float) -> str:
    """The refusal, and what these data would carry."""
    if tightest is None:
        return f"No certificate: {reason}. These data carry none."
    return f"No certificate: {reason}. The tightest that these data carry is {percent(tightest + unserved)}."
