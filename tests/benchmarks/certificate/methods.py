"""The ways to choose a threshold that the reports compare."""

from collections.abc import Mapping
from math import inf

from edge_node.gate import scores
from edge_node.prepare.certify.core import certify_with
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.certify.outcome import NoCertificate
from edge_node.prepare.certify.question import Question
from edge_node.prepare.certify.tuning import tuned
from protos.score import ScoreSpec
from tests.benchmarks.certificate import reference
from tests.benchmarks.certificate.bank import Bank
from tests.benchmarks.certificate.splits import Certify, Method, Rule, gain

DELTA = 0.05


def evidence(bank: Bank) -> Evidence:
    """A bank in the words of ``certify``."""
    return Evidence(bank.edge, bank.cloud.argmax(1), bank.labels, None, bank.bytes)


def certificate(score: ScoreSpec | None = None) -> Method:
    """What ``edge-node prepare certify`` does with these arrays; the score is chosen unless given."""

    def method(tune: Bank, seed: int) -> Certify:
        choice = tuned(evidence(tune), score=score, seed=seed)

        def certify(cert: Bank, epsilon: float) -> Rule:
            found = certify_with(choice, evidence(cert), Question(epsilon=epsilon, delta=DELTA, seed=seed))
            threshold = inf if isinstance(found, NoCertificate) else found.threshold
            return Rule(
                scores.make(choice.score, choice.temperature),
                threshold,
                str(choice.score.__struct_config__.tag),
            )

        return certify

    return method


def _reference(tune: Bank, _: int) -> Certify:
    by_msp = reference.msp(tune.edge)
    return lambda cert, epsilon: Rule(
        reference.msp,
        reference.certified(by_msp, reference.msp(cert.edge), gain(cert), epsilon, DELTA),
    )


def _naive(tune: Bank, _: int) -> Certify:
    by_msp = reference.msp(tune.edge)
    return lambda cert, epsilon: Rule(
        reference.msp, reference.naive(by_msp, reference.msp(cert.edge), gain(cert), epsilon)
    )


METHODS: Mapping[str, Method] = {
    "certificate": certificate(),
    "reference": _reference,
    "naive": _naive,
}
