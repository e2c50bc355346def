"""The promise falls for one stated reason, comes back by proof, and outlives a restart."""

from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np
import pytest

from edge_node.gate import binomial
from edge_node.gate.certificate import Binding, Certificate, Point, Promise
from edge_node.gate.estimates import Remembered
from edge_node.gate.ground import Ground, OnAlarm
from edge_node.gate.standing import Standing, State, Uncertified
from protos.artifact import CloudModel
from protos.result import Reason
from tests.gate.certificates import certificate


def standing(policy: OnAlarm = OnAlarm.HOLD, of: Certificate | None = None) -> Standing:
    return Standing(of or certificate(), policy)


def ground(one: Standing) -> Ground:
    """The ground at this moment: a property that a type checker thinks constant."""
    return one.ground


def watch(one: Standing, share: float, count: int, seed: int = 0) -> int:
    """Inputs of all scores, of which a share differs; how many it took to change the ground or the level."""
    rng, before = np.random.default_rng(seed), (one.ground, one.threshold)
    for seen in range(1, count + 1):
        one.watched(float(rng.random()), disagrees=bool(rng.random() < share))
        if (one.ground, one.threshold) != before:
            return seen
    return count


def sample(edge: int, cloud: int, score: float = 0.9, selected: float | None = 0.02) -> Remembered:
    return Remembered(edge, cloud, kept=score >= 0.3, selected=selected, score=score)


def labels(one: Standing, harm: float, count: int, seed: int = 0) -> int:
    """Late labels, of which a share shows that only the cloud was right; how many it took."""
    rng, before = np.random.default_rng(seed), one.ground
    for seen in range(1, count + 1):
        one.labelled(sample(0 if rng.random() < harm else 1, 1), truth=1)
        if one.ground is not before:
            return seen
    return count


def test_what_was_certified_stands() -> None:
    one = standing()
    assert watch(one, 0.08, 20_000) == 20_000
    assert ground(one) is Ground.VALID
    assert one.threshold == 0.3


@pytest.mark.parametrize(
    ("policy", "threshold"),
    [(OnAlarm.HOLD, 0.3), (OnAlarm.STRICTER, 0.5), (OnAlarm.OFFLOAD_ALL, float("inf"))],
)
def test_a_drift_withdraws_the_promise_and_the_policy_applies(policy: OnAlarm, threshold: float) -> None:
    one = standing(policy)
    assert watch(one, 0.3, 2000) < 300
    assert ground(one) is Ground.DRIFT
    assert one.threshold == threshold
    assert one.offloads_all is (policy is OnAlarm.OFFLOAD_ALL)


def test_each_alarm_is_one_level_stricter_until_all_is_offloaded() -> None:
    one = standing(OnAlarm.STRICTER)
    thresholds = [one.threshold for seed in range(3) if watch(one, 0.3, 5000, seed)]
    assert thresholds == [0.5, 0.6, float("inf")]
    assert one.offloads_all
    assert ground(one) is Ground.DRIFT


def test_a_stricter_threshold_is_held_to_its_own_bound() -> None:
    """Six in a hundred are well within the bound of the first, and not within that of the second."""
    tight = Point(epsilon=0.01, delta=0.05, threshold=0.5, offload=0.5, bytes=0.5, q0=0.02)
    one = standing(OnAlarm.STRICTER, certificate(stricter=(tight,)))
    assert watch(one, 0.06, 3000) == 3000
    watch(one, 0.3, 2000)
    assert one.threshold == 0.5
    assert watch(one, 0.06, 3000, 1) < 3000
    assert one.offloads_all


@pytest.mark.parametrize("policy", OnAlarm)
def test_a_stream_that_is_as_certified_again_restores_the_promise(policy: OnAlarm) -> None:
    one = standing(policy)
    watch(one, 0.3, 2000)
    assert watch(one, 0.3, 3000, 1) <= 3000
    for seed in range(4):
        watch(one, 0.04, 3000, 2 + seed)
    assert (one.ground, one.threshold) == (Ground.VALID, 0.3)
    assert watch(one, 0.3, 2000, 9) < 300  # and the alarm is awake


def test_a_stream_at_the_bound_is_seldom_restored() -> None:
    restored = 0
    for seed in range(60):
        one = standing()
        watch(one, 0.4, 2000, seed)
        watch(one, 0.1, 1500, 1000 + seed)
        restored += one.ground is Ground.VALID
    assert binomial.lower(restored, 60, 0.001) <= 0.05


def test_uncertain_inputs_say_nothing_about_the_kept() -> None:
    one = standing()
    for _ in range(2000):
        one.watched(0.29, disagrees=True)
        one.watched(float("nan"), disagrees=True)
    assert ground(one) is Ground.VALID


def test_labels_withdraw_a_promise_that_disagreement_does_not() -> None:
    """Who is right among those who differ has changed, not how often they differ."""
    one = standing()
    assert labels(one, 0.08, 3000) < 1500
    assert ground(one) is Ground.LABELS


def test_labels_within_the_promise_leave_it() -> None:
    one = standing()
    assert labels(one, 0.015, 10_000) == 10_000
    assert ground(one) is Ground.VALID


def test_labels_recertify_after_a_drift_and_disagreement_is_measured_anew() -> None:
    """More differ than did, each as often right as the other: the drop is what was promised."""
    one, rng = standing(), np.random.default_rng(4)
    watch(one, 0.3, 2000)
    for _ in range(1500):
        one.watched(0.9, disagrees=bool(rng.random() < 0.3))
    assert ground(one) is Ground.DRIFT
    for who in islice(fair(rng), 5000):
        one.labelled(who, truth=1)
    assert ground(one) is Ground.VALID
    assert watch(one, 0.3, 1000, 6) == 1000
    assert watch(one, 0.6, 2000, 7) < 300


def fair(rng: np.random.Generator) -> Iterator[Remembered]:
    """Three of ten differ; the edge is right a little more often."""
    while True:
        draw = rng.random()
        yield sample(1, 0) if draw < 0.16 else sample(0, 1) if draw < 0.3 else sample(1, 1)


def test_labels_of_samples_that_were_not_watched_do_not_count() -> None:
    one = standing()
    for _ in range(3000):
        one.labelled(sample(0, 1, selected=None), truth=1)
    assert ground(one) is Ground.VALID


@pytest.mark.parametrize("promise", ["drop", "harm", "disagreement", "selective"])
def test_a_promise_is_held_to_what_it_says(promise: Promise) -> None:
    losses = {
        name: sample(edge, cloud, score).loss(promise, 1, 0.3)
        for name, edge, cloud, score in [
            ("harm", 0, 1, 0.9), ("help", 1, 0, 0.9), ("both", 0, 2, 0.9), ("deferred", 0, 1, 0.1)
        ]
    }  # fmt: skip
    assert (
        losses
        == {
            "drop": {"harm": 1, "help": -1, "both": 0, "deferred": 0},
            "harm": {"harm": 1, "help": 0, "both": 0, "deferred": 0},
            "disagreement": {"harm": 1, "help": 1, "both": 1, "deferred": 0},
            "selective": {"harm": 1, "help": 0, "both": 1, "deferred": None},
        }[promise]
    )


def serve(one: Standing, unserved: int, served: int) -> None:
    for _ in range(unserved):
        one.served(Reason.CLOUD_TIMEOUT)
    for _ in range(served):
        one.served(None)


def test_unserved_deferrals_are_charged_as_they_may_cost() -> None:
    one = Standing(certificate(), OnAlarm.HOLD, limit=0.03)  # a point to spare: 4 % of a mean gain of 0.25
    serve(one, 0, 50)
    assert (one.ground, one.risk) == (Ground.VALID, 0.02)
    serve(one, 29, 921)
    assert one.risk == pytest.approx(0.02 + 0.25 * binomial.upper(29, 1000, 0.05))
    assert ground(one) is Ground.VALID
    serve(one, 1, 0)  # one in, and one that was served out
    assert binomial.upper(30, 1000, 0.05) > 0.04
    assert ground(one) is Ground.UNSERVED
    serve(one, 0, 1000)
    assert (one.ground, one.risk) == (Ground.VALID, 0.02)


def test_what_was_set_aside_for_the_unserved_is_theirs() -> None:
    one = standing(of=certificate(unserved=0.01, mean_gain=None))
    serve(one, 2, 998)
    assert one.risk == pytest.approx(0.01 + binomial.upper(2, 1000, 0.05))
    assert ground(one) is Ground.VALID
    serve(one, 10, 0)
    assert ground(one) is Ground.UNSERVED


def test_a_budget_that_is_short_and_age_are_grounds() -> None:
    now = [0.0]
    one = Standing(certificate(), OnAlarm.HOLD, expires=100.0, clock=lambda: now[0])
    serve(one, 0, 10)
    assert ground(one) is Ground.VALID
    one.served(Reason.BUDGET_EXHAUSTED)
    assert ground(one) is Ground.BUDGET
    serve(one, 1, 0)
    assert ground(one) is Ground.UNSERVED
    now[0] = 100.0
    assert ground(one) is Ground.EXPIRED
    watch(one, 0.5, 500)
    assert ground(one) is Ground.DRIFT


def test_a_restart_goes_on_where_it_was() -> None:
    one, again = standing(OnAlarm.STRICTER), standing(OnAlarm.STRICTER)
    watch(one, 0.3, 2000)
    watch(one, 0.04, 200)
    written = msgspec.json.encode(one.state())
    assert len(written) < 4000
    assert again.resume(msgspec.json.decode(written, type=State))
    assert (again.ground, again.threshold, again.suspicion()) == (one.ground, one.threshold, one.suspicion())
    for other in (one, again):
        for seed in range(4):
            watch(other, 0.04, 3000, seed)
    assert again.state() == one.state()


def test_what_is_seen_of_one_scene_counts_once() -> None:
    now = [0.0]
    one, pooled = (Standing(certificate(), OnAlarm.HOLD, clock=lambda: now[0]) for _ in range(2))
    pooled.pool(200.0)
    for second in range(100):
        now[0] = float(second)
        one.watched(0.9, disagrees=True)
        pooled.watched(0.9, disagrees=True)
    assert (one.ground, pooled.ground) == (Ground.DRIFT, Ground.VALID)
    for second in range(100, 5000):
        now[0] = float(second)
        pooled.watched(0.9, disagrees=True)
    assert pooled.ground is Ground.DRIFT


def test_the_memory_of_another_certificate_is_not_taken() -> None:
    one, other = standing(), standing(of=certificate(threshold=0.31))
    watch(one, 0.5, 1000)
    assert not other.resume(one.state())
    assert other.ground is Ground.VALID


def test_time_to_detect_is_published_and_kept() -> None:
    one = standing()
    watch(one, 0.08, 5000)
    published = one.audits_to_detect
    delays = []
    for seed in range(40):
        again = standing()
        again.resume(one.state())
        delays.append(0.7 * watch(again, 0.2, 5000, seed))  # three of ten are not kept
    assert np.median(delays) <= published <= 3 * np.median(delays)


@pytest.mark.parametrize("q0", [0.0, 1.0])
def test_a_bound_that_says_all_or_nothing_is_watched_as_well_as_it_can_be(q0: float) -> None:
    one = standing(of=certificate(q0=q0))
    watch(one, 1.0, 200)
    assert ground(one) is Ground.DRIFT
    watch(one, 0.0, 2000)
    assert ground(one) is (Ground.VALID if q0 else Ground.DRIFT)


def test_without_a_certificate_nothing_is_promised() -> None:
    one = Uncertified(Ground.NONE, 0.8, "nobody asked")
    one.watched(0.9, disagrees=True)
    one.labelled(sample(0, 1), 1)
    one.served(Reason.CLOUD_TIMEOUT)
    assert (one.ground, one.threshold, one.offloads_all) == (Ground.NONE, 0.8, False)


def test_inputs_that_travel_in_another_form_void_the_promise() -> None:
    binding = Binding(
        edge="0" * 64,
        cloud=CloudModel(name="cloud", sha256="1" * 64),
        preprocessing="2" * 64,
        cloud_preprocessing="2" * 64,
        codec="captured",
    )
    one = standing(of=certificate(binding=binding))
    one.sent("captured")
    assert ground(one) is Ground.VALID
    one.sent("png")
    assert ground(one) is Ground.MISMATCH
