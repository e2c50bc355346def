"""What is noted is counted, all of it, once."""

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client import CollectorRegistry

from protos.tally import MANY, Histogram, Tally

BUCKETS = (0.1, 1.0, 10.0)
amounts = some.lists(some.floats(0, 100) | some.sampled_from(BUCKETS))


def histogram() -> tuple[Histogram, CollectorRegistry]:
    registry = CollectorRegistry()
    return Histogram("h", "", ["kind"], buckets=BUCKETS, registry=registry), registry


@given(amounts)
def test_many_at_once_are_the_same_as_one_after_another(observed: list[float]) -> None:
    (one, apart), (other, together) = histogram(), histogram()
    for amount in observed:
        one.labels("a").observe(amount)
    if observed:
        other.labels("a").observe_all(observed)
    for bound in ("0.1", "1.0", "10.0", "+Inf"):
        labels = {"kind": "a", "le": bound}
        assert together.get_sample_value("h_bucket", labels) == apart.get_sample_value("h_bucket", labels)
    sums = [it.get_sample_value("h_sum", {"kind": "a"}) for it in (apart, together)]
    assert sums[0] == pytest.approx(sums[1])


def test_the_last_of_many_counts_them() -> None:
    counted: list[Sequence[int]] = []
    tally = Tally[int](counted.append)
    for note in range(MANY - 1):
        tally.note(note)
    assert counted == []
    tally.note(MANY - 1)
    assert counted == [list(range(MANY))]


def test_whoever_asks_gets_all_that_was_noted() -> None:
    counted: list[int] = []
    tally = Tally[int](counted.extend)
    tally.note(1)
    tally.note(2)
    tally.count()
    assert counted == [1, 2]
    tally.count()
    assert counted == [1, 2]


def test_of_many_threads_every_note_is_counted_once() -> None:
    counted: list[tuple[int, int]] = []
    tally = Tally[tuple[int, int]](counted.extend)

    def work(number: int) -> None:
        for note in range(5000):
            tally.note((number, note))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.count()
    assert sorted(counted) == [(number, note) for number in range(4) for note in range(5000)]
    assert all(
        [note for owner, note in counted if owner == number] == list(range(5000)) for number in range(4)
    )
