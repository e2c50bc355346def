"""A certificate from arrays: what it says, and what it says of input that carries none."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_node.gate import binomial
from edge_node.gate import certificate as contract
from edge_node.gate.certificate import Certificate
from edge_node.prepare.certify.core import certify, certify_with
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.certify.outcome import NoCertificate
from edge_node.prepare.certify.question import Question
from edge_node.prepare.certify.tuning import tuned
from edge_node.prepare.errors import DataError, PrepareError
from protos.score import Msp


def evidence(count: int = 4000, seed: int = 0) -> Evidence:
    """Ten classes; the cloud sees them with less noise, and partly with the same."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    truth, shared = 4 * np.eye(10)[labels], draw.normal(size=(count, 10))
    logits = (truth + shared + 1.2 * draw.normal(size=(count, 10))).astype(np.float32)
    cloud = (truth + shared + 0.6 * draw.normal(size=(count, 10))).argmax(axis=1)
    return Evidence(logits, cloud, labels, None, draw.integers(900, 1100, count))


def certified(found: Evidence, question: Question | None = None) -> Certificate:
    outcome = certify(found, question)
    assert isinstance(outcome, Certificate), outcome.verdict
    return outcome


def refused(found: Evidence, question: Question | None = None) -> NoCertificate:
    outcome = certify(found, question)
    assert isinstance(outcome, NoCertificate)
    return outcome


def test_a_certificate_says_what_it_promises() -> None:
    found = certified(evidence())
    assert found.promise == "drop"
    assert found.method == "betting"
    assert 0 < found.offload < 0.5
    share = round(100 * found.bytes)
    assert found.verdict == (
        "With 95 % confidence, on inputs like these, Tidegate answers within 1.0 point of the cloud model "
        f"while sending {share} % of its bytes."
    )
    assert found.warnings == ()
    assert found.n == 3200
    assert found.tune == 800
    assert found.threshold in found.grid
    assert len(found.quantiles) == 257
    assert list(found.quantiles) == sorted(found.quantiles)
    assert found.cloud_accuracy is not None
    assert found.edge_accuracy is not None
    assert found.cloud_accuracy > found.edge_accuracy
    assert found.mean_gain is not None
    assert found.mean_gain > 0
    assert 0 < found.q0 < 0.2


def test_its_steps_are_those_of_the_sequence() -> None:
    found = certified(evidence())
    *rejected, last = found.steps
    assert all(step.p_value <= found.delta for step in rejected)
    assert rejected[-1].threshold == found.threshold
    assert last.p_value > found.delta
    assert [step.threshold for step in found.steps] == list(found.grid[: len(found.steps)])


def test_what_kept_answers_may_differ_by_is_bounded_at_99_percent() -> None:
    choice, cert = tuned(evidence().take(np.arange(800))), evidence().take(np.arange(800, 4000))
    found = certify_with(choice, cert, Question())
    assert isinstance(found, Certificate)
    kept = choice.scores(cert.logits) >= found.threshold
    assert found.q0 == binomial.upper(int(cert.differs[kept].sum()), int(kept.sum()), 0.01)


def test_bets_are_made_in_an_order_drawn_by_the_seed() -> None:
    """A file is sorted by class, or by day: whoever bets in its order bets on that."""
    found = evidence()
    choice, cert = tuned(found.take(np.arange(800))), found.take(np.arange(800, 4000))
    tests = [certify_with(choice, cert, Question(seed=seed)).steps for seed in (0, 0, 1, 2)]
    assert tests[0] == tests[1]
    assert len(set(tests)) == 3


def test_it_survives_the_disk_bit_for_bit() -> None:
    found = certified(evidence(), Question(also=(0.005,)))
    assert msgspec.json.decode(contract.encode(found), type=Certificate) == found


def test_further_epsilons_share_delta_and_come_as_stricter_points() -> None:
    asked = Question(epsilon=0.02, also=(0.01, 0.015))
    assert sum(asked.levels.values()) == pytest.approx(asked.delta)
    found = certified(evidence(), asked)
    assert [point.epsilon for point in found.stricter] == [0.015, 0.01]
    offloads = [found.offload, *(point.offload for point in found.stricter)]
    assert offloads == sorted(offloads)
    assert {point.delta for point in found.stricter} == {asked.levels[0.01]}


def test_a_looser_epsilon_that_was_asked_for_takes_over_where_the_first_does_not_hold() -> None:
    few = evidence(500)
    assert refused(few, Question(epsilon=0.005)).tightest is not None
    found = certified(few, Question(epsilon=0.005, also=(0.05,)))
    assert found.epsilon == 0.05
    assert "0.5 % was asked and is not certified" in found.warnings[0]


def test_room_for_unanswered_deferrals_is_paid_for_with_offload() -> None:
    plain, roomy = (certified(evidence(), Question(epsilon=0.02, unserved=it)) for it in (0.0, 0.01))
    assert roomy.offload > plain.offload
    assert roomy.epsilon == plain.epsilon


def test_without_labels_it_promises_agreement() -> None:
    found = certified(replace(evidence(), labels=None), Question(epsilon=0.05))
    assert found.promise == "disagreement"
    assert found.method == "binomial"
    assert "gives the cloud model's own answer but for 5 % of the inputs" in found.verdict
    assert found.cloud_accuracy is None


@pytest.mark.parametrize("promise", ["drop", "harm", "selective"])
def test_promises_about_accuracy_take_labels(promise: contract.Promise) -> None:
    with pytest.raises(DataError, match=f"a promise of {promise} takes labels"):
        certify(replace(evidence(), labels=None), Question(promise=promise))


@pytest.mark.parametrize(("promise", "epsilon"), [("harm", 0.02), ("selective", 0.08)])
def test_the_other_promises_hold_on_the_samples_they_were_made_from(
    promise: contract.Promise, epsilon: float
) -> None:
    found = certified(evidence(), Question(promise=promise, epsilon=epsilon))
    step = next(it for it in found.steps if it.threshold == found.threshold)
    assert step.bad / (step.kept if promise == "selective" else found.n) < epsilon
    assert found.offload < 0.7


@pytest.mark.parametrize("promise", ["disagreement", "harm", "selective"])
def test_no_order_of_the_samples_is_better_for_an_exact_promise(promise: contract.Promise) -> None:
    """The seed of the order changes nothing on the same CERT."""
    found = evidence()
    choice, cert = tuned(found.take(np.arange(800))), found.take(np.arange(800, 4000))
    outcomes = [certify_with(choice, cert, Question(promise, 0.08, seed=seed)) for seed in range(4)]
    assert len({it.steps for it in outcomes}) == 1


def test_too_few_samples_are_said_to_be_so_with_the_tightest_they_carry() -> None:
    found = refused(evidence(300))
    assert found.verdict.startswith(
        "No certificate: 1 % with 95 % confidence takes at least 410 samples to certify with, here are 240."
    )
    assert found.tightest is not None
    assert f"The tightest that these data carry is {100 * found.tightest:.3g} %." in found.verdict
    assert 0.01 < found.tightest < 0.05


def test_a_promise_that_cannot_be_kept_is_not_made() -> None:
    hopeless = replace(evidence(), logits=np.random.default_rng(1).normal(size=(4000, 10)).astype(np.float32))
    found = refused(hopeless, Question(promise="selective", epsilon=0.05))
    assert "too much is wrong" in found.verdict


def test_one_sample_is_too_few_to_split() -> None:
    with pytest.raises(DataError, match="too few samples to certify anything: 1, give at least 20"):
        certify(evidence(1))


def test_one_class_speaks_for_no_other() -> None:
    with pytest.raises(
        DataError, match="all 4000 labels are class 3: a promise from one class holds for no other"
    ):
        certify(replace(evidence(), labels=np.full(4000, 3)))


def test_equal_scores_tell_nothing() -> None:
    found = refused(replace(evidence(), logits=np.zeros((4000, 10), np.float32)))
    assert "all scores are 0.1: nothing tells a sure answer from an unsure one" in found.verdict


def test_separable_samples_are_certified_and_the_temperature_is_warned_of() -> None:
    whole = evidence()
    assert whole.labels is not None
    perfect = replace(whole, logits=(9 * np.eye(10)[whole.labels]).astype(np.float32), cloud=whole.labels)
    found = certified(perfect)
    assert found.offload == 0
    assert "while sending nothing" in found.verdict
    assert any("temperature 0.05 is as far as it may go" in it for it in found.warnings)
    assert any("the cloud model is no better than the edge" in it for it in found.warnings)


def test_shuffled_labels_are_noticed() -> None:
    whole = evidence()
    assert whole.labels is not None
    with pytest.raises(
        DataError, match=r"right on .* as by chance: the labels are not those of these samples"
    ):
        certify(replace(whole, labels=np.random.default_rng(0).permutation(whole.labels)))


def test_nan_logits_are_always_deferred() -> None:
    whole = evidence()
    logits = whole.logits.copy()
    logits[::10] = np.nan
    found = certified(replace(whole, logits=logits))
    assert 280 < found.unusable < 360
    assert found.offload > 0.09
    assert any("samples have NaN or infinite logits: they are always deferred" in it for it in found.warnings)
    with pytest.raises(DataError, match="gives NaN or infinite logits for every sample"):
        certify(replace(whole, logits=np.full_like(logits, np.nan)))


def test_probabilities_are_not_taken_for_logits() -> None:
    whole = evidence()
    exponents = np.exp(whole.logits - whole.logits.max(axis=1, keepdims=True))
    with pytest.raises(DataError, match="gives probabilities, not logits"):
        certify(replace(whole, logits=exponents / exponents.sum(axis=1, keepdims=True)))


def test_samples_of_a_group_that_are_copies_are_found_out_and_the_promise_is_for_these_groups() -> None:
    whole = evidence(400)
    copies = whole.take(np.repeat(np.arange(400), 10))
    found = certified(replace(copies, groups=np.repeat(np.arange(400), 10)), Question(epsilon=0.03))
    assert found.groups == 320
    assert found.design_effect is not None
    assert found.design_effect > 5
    assert "samples of a group are alike" in found.warnings[-1]
    honest = certify(
        replace(copies, groups=np.repeat(np.arange(400), 10)), Question(epsilon=0.03, per_group=True)
    )
    alone = certify(whole, Question(epsilon=0.03))
    offloads = [it.offload if isinstance(it, Certificate) else 1.0 for it in (found, honest, alone)]
    assert offloads[0] < offloads[1]
    assert offloads[1] == pytest.approx(offloads[2], abs=0.25)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"delta": 1.0}, "delta 1: a probability between 0 and 1"),
        ({"epsilon": 0.0}, "epsilon 0: a share between 0 and 1"),
        ({"epsilon": 0.01, "unserved": 0.01}, "epsilon 0.01: a share between 0.01 and 1"),
        ({"also": (2.0,)}, "epsilon 2: a share between 0 and 1"),
    ],
)
def test_impossible_questions_are_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(PrepareError, match=words):
        replace(Question(), **asked)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="there are 3999 labels for 4000 samples"):
        certify(replace(evidence(), labels=np.zeros(3999, np.int64)))


def test_the_default_score_is_kept_where_nothing_beats_it() -> None:
    assert certified(evidence()).score == Msp()
