"""Which score of the logits a gate compares to its threshold: what a manifest says of it.

Every score is larger where the edge is surer. ``edge_node.gate.scores`` computes them.
"""

import math
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """A score by name, with its parameters."""

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """The smallest and the largest that it can be."""


class Msp(Spec, frozen=True, kw_only=True, tag="msp"):
    """Max softmax(logits / temperature), 0 to 1: the confidence itself."""


class Margin(Spec, frozen=True, kw_only=True, tag="margin"):
    """Largest less second largest softmax probability, 0 to 1."""


class Negent(Spec, frozen=True, kw_only=True, tag="negent"):
    """Negative entropy of the softmax in nats: -log(classes) to 0."""

    bounds = (-math.inf, 0.0)


class Energy(Spec, frozen=True, kw_only=True, tag="energy"):
    """temperature * log sum exp(logits / temperature): unbounded (Liu et al. 2020)."""

    bounds = (-math.inf, math.inf)


class MaxLogitPNorm(Spec, frozen=True, kw_only=True, tag="maxlogit-pnorm"):
    """Largest logit over the p-norm of all, both less their mean, 0 to 1 (Cattelan & Silva 2023)."""

    p: Annotated[int, Meta(ge=1, le=10)]


class Logistic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A probability: the logistic function of ``bias[top class] + weights . (msp, margin, negent)``."""

    weights: tuple[float, float, float]
    bias: tuple[float, ...]
    """One a class, in the order of the logits."""


class Gain(Spec, frozen=True, kw_only=True, tag="gain"):
    """What the cloud is expected to add, negated: P(it spoils) - P(it helps), -1 to 1."""

    bounds = (-1.0, 1.0)
    helps: Logistic
    """The cloud is right where the edge is wrong; fitted without labels: the two disagree."""
    spoils: Logistic | None = None
    """The cloud is wrong where the edge is right; none where there were no labels."""


ScoreSpec = Msp | Margin | Negent | Energy | MaxLogitPNorm | Gain
