"""Budget, audit, benefit and standing together, on a stream that drifts: what each sees and does."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from edge_node.fallback import Outcome
from edge_node.gate.audit import Audit
from edge_node.gate.benefit import PROBES, Benefit
from edge_node.gate.budget import Controller, Mode, Quantiles, ShareTarget, Together
from edge_node.gate.certificate import Certificate
from edge_node.gate.confidence import Decision
from edge_node.gate.ground import Ground, OnAlarm
from edge_node.gate.oversight import Oversight, Paced
from edge_node.gate.standing import Standing, State
from edge_node.state import Saved
from protos.result import Reason
from tests.gate.certificates import certificate

KEY = b"a key"
SHARE = 0.05
CLEAN = (1.0, 0.05, 0.35, 0.3)
"""Scores are uniform up to here; the models differ on so many of the kept and of the deferred, where the
cloud is right by so much more often. The certificate's bound for the kept is 10 %."""
NOISY = (0.45, 0.30, 0.60, -0.05)


@dataclass
class Node:
    """One node's oversight, and a count of what it ruled."""

    target: float = 0.35
    mode: Mode = Mode.BUDGET_CAP
    policy: OnAlarm = OnAlarm.HOLD
    of: Certificate = field(default_factory=certificate)

    def __post_init__(self) -> None:
        self.standing = Standing(self.of, self.policy, limit=1.0)
        self.controller = Controller(
            [ShareTarget(self.target)],
            Quantiles(self.of.quantiles),
            lambda: self.standing.threshold,
            self.mode,
        )
        self.audit = Audit(KEY, SHARE, Together(), self.standing)
        self.oversight = Oversight(
            Paced(self.controller), self.audit, self.standing, Benefit.of(KEY, self.of)
        )
        self.count, self.ruled = 0, list[Reason | None]()
        self.cloud = Reason.CLOUD
        """What becomes of a call."""

    def run(self, stream: tuple[float, float, float, float], count: int, *, labelled: bool = False) -> None:
        rng, (most, kept, deferred, gain) = np.random.default_rng(self.count), stream
        self.ruled.clear()
        for score in (rng.random(count) * most).tolist():
            self.count += 1
            differs = bool(rng.random() < (kept if score >= self.of.threshold else deferred))
            self.one(str(self.count), score, differs=differs)
            if labelled:
                self.oversight.label(str(self.count), int(differs and rng.random() < 0.5 + gain / 2))

    def one(self, name: str, score: float, *, differs: bool) -> None:
        """The edge says 0; the cloud says 1 where it differs."""
        reason, ticket = self.oversight.rule(name, Decision(0, score, score, accepted=False), 100)
        self.ruled.append(reason)
        if ticket:
            self.oversight.learn(ticket, Outcome(self.cloud, int(differs), 1.0, seconds=0.1, sent=100))

    def share(self, reason: Reason | None) -> float:
        return self.ruled.count(reason) / len(self.ruled)


def test_a_stream_as_certified_is_sent_as_certified_and_watched_at_its_price() -> None:
    node = Node()
    node.run(CLEAN, 20_000)
    assert node.standing.ground is Ground.VALID
    assert node.share(None) == pytest.approx(0.3, abs=0.01)
    found = node.audit.disagreement()
    assert found.audited == pytest.approx(SHARE * 14_000, rel=0.1)
    assert found.kept_low < 0.05 < found.kept_high


def test_a_drift_stays_in_the_budget_and_withdraws_the_promise_soon() -> None:
    node = Node()
    node.run(CLEAN, 5000)
    published, audited = node.standing.audits_to_detect, 0
    while node.standing.ground is Ground.VALID:
        audited = node.audit.disagreement().audited
        node.run(NOISY, 100)
    assert node.standing.ground is Ground.DRIFT
    assert audited - SHARE * 3500 < 3 * published
    node.run(NOISY, 5000)
    assert node.share(None) == pytest.approx(0.35, abs=0.02)


def test_labels_of_a_drifted_stream_end_what_is_paid_for_nothing() -> None:
    node = Node()
    node.run(CLEAN, 3000)
    node.run(NOISY, 8000, labelled=True)
    node.run(NOISY, 5000)
    assert node.share(Reason.NO_GAIN) > 0.25
    assert node.share(None) < 0.35 * 2 * PROBES


def test_labels_recertify_where_the_cloud_is_no_better() -> None:
    """More of the kept differ than did; yet to keep them loses nothing, and that is what was promised."""
    node = Node()
    node.run(NOISY, 2000)
    assert node.standing.ground is Ground.DRIFT
    node.run(NOISY, 20_000, labelled=True)
    assert (node.standing.turns, node.standing.ground) == (2, Ground.VALID)
    node.run(NOISY, 5000)
    assert node.standing.turns == 2


def test_a_stream_that_is_as_before_restores_the_promise() -> None:
    node = Node()
    node.run(NOISY, 5000)
    assert node.standing.ground is Ground.DRIFT
    node.run(CLEAN, 20_000)
    assert (node.standing.turns, node.standing.ground) == (2, Ground.VALID)
    assert node.audit.disagreement().kept_high < 0.1  # counted anew
    assert node.share(None) == pytest.approx(0.3, abs=0.02)


def test_what_was_stopped_is_sent_again_once_the_stream_is_as_before() -> None:
    node = Node()
    node.run(NOISY, 8000, labelled=True)
    assert node.share(Reason.NO_GAIN) > 0.2
    node.run(CLEAN, 20_000)
    node.run(CLEAN, 3000)
    assert node.share(None) == pytest.approx(0.3, abs=0.03)


def test_a_budget_to_spare_does_not_send_what_both_models_say_the_same_of() -> None:
    node = Node(target=0.9, mode=Mode.ACCURACY_FIRST)
    node.run((1.0, 0.005, 0.35, 0.3), 5000)
    node.run((1.0, 0.005, 0.35, 0.3), 5000)
    assert node.share(Reason.NO_GAIN) == 0
    assert node.share(None) == pytest.approx(0.3 + 0.6 * PROBES, abs=0.03)
    assert node.standing.ground is Ground.VALID


def test_what_is_stopped_is_charged_to_the_promise() -> None:
    node = Node(of=certificate(mean_gain=-0.01))
    node.run(CLEAN, 2000)
    assert node.share(Reason.NO_GAIN) > 0.25
    assert node.standing.risk == node.of.epsilon  # by no more than it gained
    other = Node()
    other.oversight.benefit = Benefit(KEY, [], [-1.0])
    other.run(CLEAN, 2000)
    assert other.standing.risk > other.of.epsilon + 0.25 * 0.25


def test_deferrals_that_get_no_answer_are_charged_to_the_promise_and_audits_are_missing() -> None:
    """Three in ten are deferred, each of which gains a quarter of a right answer."""
    node = Node(of=certificate(unserved=0.01))
    node.standing._limit = node.of.epsilon
    grounds = []
    for node.cloud in (Reason.CLOUD, Reason.CLOUD_TIMEOUT, Reason.CLOUD):
        before = node.audit.disagreement()
        node.run(CLEAN, 1000)
        grounds.append(node.standing.ground)
        now = node.audit.disagreement()
        lost, heard = now.missing - before.missing, now.audited - before.audited
        if node.cloud is Reason.CLOUD:
            assert (lost, heard > 0) == (0, True)
        else:
            assert (lost > 0, heard) == (True, 0)
            assert node.standing.risk == pytest.approx(0.01 + 0.25 * 0.3, abs=0.02)
    assert grounds == [Ground.VALID, Ground.UNSERVED, Ground.VALID]


@pytest.mark.parametrize(("target", "ground"), [(0.2, Ground.BUDGET), (0.45, Ground.VALID)])
def test_a_budget_is_charged_for_what_it_keeps_and_does_not_flap(target: float, ground: Ground) -> None:
    """The pace moves about the certified threshold all the time; that alone says little."""
    node, seen = Node(target, Mode.BUDGET_FIRST, of=certificate(unserved=0.005)), []
    node.standing._limit = node.of.epsilon
    node.run(CLEAN, 3000)
    for _ in range(100):
        node.run(CLEAN, 20)
        seen.append(node.standing.ground)
    assert set(seen) == {ground}
    assert (node.ruled.count(Reason.BUDGET_EXHAUSTED) > 0) is (ground is Ground.BUDGET)


def test_many_threads_lose_no_count() -> None:
    node = Node(policy=OnAlarm.STRICTER)
    stop = Event()

    def look() -> None:
        while not stop.is_set():
            node.audit.seconds.quantile(0.9)
            node.audit.disagreement()
            assert node.standing.threshold > 0
            node.standing.state()

    def work(index: int) -> None:
        node.one(str(index), (index % 1000) / 1000, differs=index % 3 == 0)

    with ThreadPoolExecutor(9) as pool:
        watching = pool.submit(look)
        list(pool.map(work, range(8000)))
        stop.set()
        watching.result()
    assert len(node.ruled) == 8000
    assert node.standing.offloads_all
    assert node.standing.turns == 1


def test_many_threads_save_what_was_learnt_one_after_another(tmp_path: Path) -> None:
    """Else a file would be cut by the next one, or an older state come last."""
    node, kept = Node(policy=OnAlarm.STRICTER), Saved(tmp_path / "standing.json", State)
    seen = list[int]()

    def save() -> None:
        kept.save(state := node.standing.state())
        assert kept.load() == state
        seen.append(state.alarm.seen + 10**6 * state.level)

    node.oversight.keep(save)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: node.one(str(index), 0.9, differs=False), range(30_000)))
    assert len(seen) > 5
    assert seen == sorted(seen)


def test_an_audit_never_changes_the_ruling() -> None:
    watched, blind = Node(), Node()
    blind.audit._share = 0.0
    watched.run(CLEAN, 4000)
    blind.run(CLEAN, 4000)
    assert watched.ruled == blind.ruled
    assert (watched.audit.disagreement().audited > 100, blind.audit.disagreement().audited) == (True, 0)
