"""What is watched is chosen by lot, paid for, and weighed as the lot fell."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.gate import binomial
from edge_node.gate.audit import Audit, selected
from edge_node.gate.budget import Together, TokenBucket
from edge_node.gate.estimates import Memory, Remembered, Tally, Weighted

KEY = b"a key"


class Watcher:
    """A standing that keeps what it hears, and suspects what it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bool]] = []
        self.evidence, self.offloads_all = 1.0, False

    def suspicion(self) -> float:
        return self.evidence

    def watched(self, score: float, *, disagrees: bool) -> None:
        self.heard.append((score, disagrees))


def audit(share: float, watcher: Watcher | None = None) -> Audit:
    return Audit(KEY, share, Together(), watcher or Watcher())


@given(st.lists(st.text(max_size=20), max_size=50), st.floats(0, 1), st.floats(0, 1))
def test_the_same_ids_are_chosen_again_and_more_are_chosen_of_more(
    ids: list[str], share: float, more: float
) -> None:
    chosen = [name for name in ids if selected(KEY, name, share)]
    assert chosen == [name for name in ids if selected(KEY, name, share)]
    assert set(chosen) <= {name for name in ids if selected(KEY, name, max(share, more))}


def test_as_many_are_chosen_as_the_share_says_and_others_with_another_key() -> None:
    ids = [f"node-{number}" for number in range(50_000)]
    mine = {name for name in ids if selected(KEY, name, 0.02)}
    others = {name for name in ids if selected(b"another", name, 0.02)}
    assert binomial.lower(len(mine), 50_000, 1e-4) < 0.02 < binomial.upper(len(mine), 50_000, 1e-4)
    assert len(mine & others) < 60
    assert not any(selected(KEY, name, 0.0) for name in ids)
    assert all(selected(KEY, name, 1.0) for name in ids)


def test_the_choice_knows_nothing_of_score_payload_or_route() -> None:
    ids = [f"node-{number}" for number in range(2000)]
    kept = [ticket for name in ids if (ticket := audit(0.1).kept(name, 0.9, 1, 10))]
    sure = [ticket for name in ids if (ticket := audit(0.1).kept(name, 0.1, 2, 99))]
    deferred = [ticket for name in ids if (ticket := audit(0.1).deferred(name, 0.5, 1, 10)).selected]
    assert [t.request_id for t in kept] == [t.request_id for t in sure] == [t.request_id for t in deferred]


def stream_of(rng: np.random.Generator, count: int) -> tuple[list[float], list[bool]]:
    """Scores, and where the models differ: the less certain, the more often."""
    score = rng.random(count)
    return score.tolist(), (rng.random(count) < 0.3 * (1 - score) ** 2).tolist()


def run(one: Audit, number: int, scores: list[float], differs: list[bool], threshold: float = 0.3) -> None:
    for index, (score, other) in enumerate(zip(scores, differs, strict=True)):
        name = f"{number}-{index}"
        if score < threshold:
            one.heard(one.deferred(name, score, 0, 10), int(other), 0.1, 10)
        elif ticket := one.kept(name, score, 0, 10):
            one.heard(ticket, int(other), 0.1, 10)


def test_the_estimate_is_unbiased_and_so_is_its_error() -> None:
    """Over 1,000 runs; while the share of audits changes with what they show."""
    rng, watcher = np.random.default_rng(7), Watcher()
    scores, differs = stream_of(rng, 1000)
    truth = sum(other for score, other in zip(scores, differs, strict=True) if score >= 0.3) / len(scores)
    found = []
    for number in range(1000):
        one = audit(0.1, watcher)
        watcher.evidence, half = 1.0, len(scores) // 2
        run(one, number, scores[:half], differs[:half])
        watcher.evidence = 11.0 if one.disagreement().kept > truth else 1.0
        run(one, -1 - number, scores[half:], differs[half:])
        found.append(one.disagreement())
    estimates = np.array([each.stream for each in found])
    assert abs(estimates.mean() - truth) <= 3 * estimates.std() / math.sqrt(len(found))
    assert np.mean([each.stream_error**2 for each in found]) == pytest.approx(estimates.var(), rel=0.15)
    assert np.mean([each.stream_worst >= truth for each in found]) >= 0.975 - 0.015


def test_bounds_hold_whatever_was_missed_and_the_estimate_does_not() -> None:
    """Every second audit that would have found a difference never comes back."""
    rng, one = np.random.default_rng(8), audit(0.2)
    scores, differs = stream_of(rng, 20_000)
    for number, (score, other) in enumerate(zip(scores, differs, strict=True)):
        if ticket := one.kept(f"x-{number}", score, 0, 10):
            one.lost(ticket) if other and number % 2 else one.heard(ticket, int(other), 0.1, 10)
    found, truth = one.disagreement(), float(np.mean(differs))
    assert found.missing > 100
    assert found.kept_high < truth < found.kept_worst
    assert found.stream_worst > truth


def test_an_audit_that_its_budget_refuses_is_missing() -> None:
    bucket = TokenBucket(0, 1000, lambda: 0.0)
    one = Audit(KEY, 0.5, bucket, Watcher())
    tickets = [ticket for number in range(400) if (ticket := one.kept(f"n-{number}", 0.9, 0, 100))]
    assert len(tickets) == 10
    one.heard(tickets[0], 0, 0.1, 60)
    one.lost(tickets[1])
    assert bucket.level == 140
    found = one.disagreement()
    assert found.audited == 1
    assert 150 < found.missing < 250
    assert found.kept_worst > 0.99


def test_a_suspicion_makes_it_look_more_often() -> None:
    watcher = Watcher()
    one = audit(0.02, watcher)
    assert one.share == 0.02
    watcher.evidence = 10.5
    assert one.share == pytest.approx(0.1)
    watcher.evidence = 9.0
    assert one.share == 0.02


def test_only_the_chosen_are_watched_except_where_all_are_offloaded() -> None:
    watcher = Watcher()
    one = audit(0.1, watcher)
    for number in range(1000):
        one.heard(one.deferred(f"n-{number}", 0.2, 0, 10), 1, 0.1, 10)
    assert 60 < len(watcher.heard) < 140
    watcher.offloads_all = True
    one.heard(one.deferred("any", 0.2, 0, 10), 1, 0.1, 10)
    assert one.deferred("other", 0.2, 0, 10).selected == 1.0


def test_a_cloud_alone_is_estimated_from_what_was_deferred_and_audited() -> None:
    """Deferred samples are larger and take longer; unweighted they would pass for all."""
    rng, one = np.random.default_rng(9), audit(0.05)
    seconds, plain = [], Weighted(20_000)
    for number, score in enumerate(rng.random(12_000)):
        took = float(rng.lognormal(-3 + (score < 0.3), 0.5))
        seconds.append(took)
        if score < 0.3:
            one.heard(one.deferred(f"n-{number}", score, 0, 900), 0, took, 900)
            plain.add(took)
        elif ticket := one.kept(f"n-{number}", score, 0, 300):
            one.heard(ticket, 0, took, 300)
            plain.add(took)
    median, tail = one.seconds.quantile(0.5), one.seconds.quantile(0.9)
    assert median == pytest.approx(np.quantile(seconds, 0.5), rel=0.1)
    assert tail == pytest.approx(np.quantile(seconds, 0.9), rel=0.15)
    assert one.bytes.mean() == pytest.approx(480, rel=0.1)
    assert plain.quantile(0.5) != pytest.approx(np.quantile(seconds, 0.5), rel=0.5)
    assert one.seconds.quantile(0.99) is None  # too few effective samples
    assert 400 < one.seconds.effective < 4096


def test_a_call_that_never_ended_took_longer_than_any_that_did() -> None:
    one = audit(1.0)
    for number in range(200):
        ticket = one.deferred(f"n-{number}", 0.1, 0, 10)
        one.lost(ticket) if number % 4 == 0 else one.heard(ticket, 0, 0.1, 8)
    assert one.seconds.quantile(0.5) == 0.1
    assert one.seconds.quantile(0.8) == math.inf
    assert one.seconds.mean() == pytest.approx(0.1)


def test_nothing_seen_is_nothing_known() -> None:
    found = Tally().estimate()
    assert (found.audited, found.kept, found.kept_high, found.kept_worst, found.stream_worst) == (
        0,
        0,
        1,
        1,
        1,
    )
    empty = Weighted()
    assert (empty.effective, empty.mean(), empty.quantile(0.5)) == (0, None, None)


def test_late_labels_estimate_the_drop_from_watched_samples_alone() -> None:
    """The cloud is right of all of 2 % of the kept, of which a third are watched."""
    rng, memory = np.random.default_rng(11), Memory()
    for number in range(15_000):
        kept, harm = bool(rng.random() < 0.7), bool(rng.random() < 0.02)
        chosen = 0.3 if rng.random() < 0.3 else None
        if chosen or not kept:
            memory.remember(str(number), Remembered(0 if kept and harm else 1, 1, kept, chosen, 0.9))
    assert memory.drop is None
    for number in range(15_000):
        memory.label(str(number), 1)
    assert memory.drop == pytest.approx(0.014, abs=3 * math.sqrt(0.014 / 4500))
    assert memory.label("1", 1) is None  # once


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = Memory(size=100)
    for number in range(1000):
        memory.remember(str(number), Remembered(0, 1, kept=True, selected=1.0, score=0.5))
    assert len(memory) == 100
    assert memory.label("899", 1) is None
    assert memory.label("900", 1) is not None


class Unthinned(Audit):
    """Takes every deferred sample at its word, however many audits of kept ones go missing."""

    def _represents(self, request_id: str) -> bool:  # noqa: ARG002 - all of them do
        return True


@pytest.mark.parametrize(("kind", "missing"), [(Audit, 0.0), (Audit, 0.5), (Audit, 0.8), (Unthinned, 0.8)])
def test_missing_audits_do_not_hide_what_is_lost_on_the_kept(kind: type[Audit], missing: float) -> None:
    """A tenth of the kept, which are six in ten, lose by it: labels of watched samples say so."""
    audit, rng = kind(KEY, 0.2, Together(), Watcher()), np.random.default_rng(4)
    for number in range(40_000):
        name, kept = str(number), rng.random() < 0.6
        if not kept:
            audit.heard(audit.deferred(name, 0.1, 0, 1), 1, 0.1, 1)
        elif ticket := audit.kept(name, 0.9, 0, 1):
            if rng.random() < missing:
                audit.lost(ticket)
            else:
                audit.heard(ticket, 1, 0.1, 1)
        audit.labelled(name, int(rng.random() < 0.55))  # right is the cloud, less often the edge
    assert audit.memory.drop is not None
    true = 0.6 * (0.55 - 0.45)
    assert (audit.memory.drop > 0.75 * true) is (kind is Audit)
