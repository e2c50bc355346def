"""What is asked of the data, all of it before they are looked at."""

from dataclasses import dataclass

from edge_node.gate.certificate import Promise
from edge_node.prepare.errors import PrepareError

HEADLINE = 0.9
"""Share of delta that the first epsilon has for itself where others are certified along with it."""


@dataclass(frozen=True)
class Question:
    """What to certify."""

    promise: Promise | None = None
    """None: the drop where there are labels, disagreement where there are none."""
    epsilon: float = 0.01
    delta: float = 0.05
    also: tuple[float, ...] = ()
    """Further epsilons to certify along with it: stricter ones for an alarm, looser ones to fall back on."""
    unserved: float = 0.0
    """Share of inputs whose deferral may stay unanswered: reserved out of every epsilon."""
    per_group: bool = False
    """Promise it for groups never seen: a group is one piece of evidence."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise PrepareError(f"delta {self.delta:g}: a probability between 0 and 1")
        for epsilon in (self.epsilon, *self.also):
            if not 0 <= self.unserved < epsilon < 1:
                raise PrepareError(f"epsilon {epsilon:g}: a share between {self.unserved:g} and 1")

    @property
    def levels(self) -> dict[float, float]:
        """Epsilon -> its share of delta: together they spend no more than delta (Bonferroni)."""
        others = tuple(dict.fromkeys(it for it in self.also if it != self.epsilon))
        if not others:
            return {self.epsilon: self.delta}
        rest = dict.fromkeys(others, self.delta * (1 - HEADLINE) / len(others))
        return {self.epsilon: self.delta * HEADLINE, **rest}
