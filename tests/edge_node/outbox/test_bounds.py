"""Bounds: what goes when there is no room, by which policy, and how it is counted."""

from pathlib import Path
from typing import Any

import pytest

from deploy.demo.processes import wait_until
from edge_node.metrics import DROPS
from tests.outboxes import PATIENCE, box

SIZE = 1000
"""Bytes of a result, roughly."""


def filled(folder: Path, bound: str, **settings: Any) -> tuple[list[int], int]:
    """Numbers of what waits after 20 results, two a transaction; and how many were dropped for this bound."""
    with box(folder, **settings) as outbox:
        for _ in range(10):
            outbox.put(2)
            outbox.settle()
        left, dropped = outbox.all(), outbox.dropped(bound)
        assert sum(outbox.dropped(reason) for reason in DROPS) == dropped
        assert outbox.committed() == 19
        assert outbox.depth().rows == len(left)
    with box(folder, **settings) as outbox:
        assert outbox.all() == left
    return left, dropped


def test_within_bounds_nothing_is_dropped(tmp_path: Path) -> None:
    assert filled(tmp_path, "rows", max_rows=20) == (list(range(20)), 0)


def test_the_oldest_goes(tmp_path: Path) -> None:
    assert filled(tmp_path, "rows", max_rows=7, policy="drop_oldest") == (list(range(13, 20)), 13)


def test_the_newest_goes(tmp_path: Path) -> None:
    assert filled(tmp_path, "rows", max_rows=7, policy="drop_newest") == (list(range(7)), 13)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_bytes_bound_as_well(tmp_path: Path, policy: str) -> None:
    left, dropped = filled(tmp_path, "bytes", max_bytes=8 * SIZE, policy=policy)
    assert len(left) + dropped == 20
    assert 7 <= len(left) <= 8
    assert left[0] == (0 if policy == "drop_newest" else 20 - len(left))


def test_a_result_larger_than_the_bound_is_dropped_alone(tmp_path: Path) -> None:
    assert filled(tmp_path, "bytes", max_bytes=100) == ([], 20)


def test_reject_says_so_and_drops_nothing(tmp_path: Path) -> None:
    with box(tmp_path, max_rows=3, policy="reject") as outbox:
        outbox.put(2)
        outbox.settle()
        assert not outbox.full
        outbox.put(3)  # those that were under way
        outbox.settle()
        assert outbox.full
        assert (outbox.all(), outbox.dropped("rows")) == ([0, 1, 2, 3, 4], 0)
        outbox.confirm(3)
        outbox.settle()
        assert not outbox.full


def test_other_policies_are_never_full(tmp_path: Path) -> None:
    with box(tmp_path, max_rows=1) as outbox:
        outbox.put(5)
        outbox.settle()
        assert not outbox.full


def test_what_is_too_old_goes_by_itself(tmp_path: Path) -> None:
    with box(tmp_path, max_age=0.05) as outbox:
        outbox.put(5)
        outbox.settle()
        assert wait_until(lambda: outbox.dropped("age") == 5, PATIENCE)
        assert wait_until(lambda: outbox.floor() == 5, PATIENCE)
        assert (outbox.all(), outbox.depth().rows) == ([], 0)


def test_age_counts_across_a_restart(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(1)
        outbox.settle()
    with box(tmp_path) as outbox:
        assert wait_until(lambda: outbox.depth().age > 0.1, PATIENCE)
    with box(tmp_path) as outbox:
        assert outbox.depth().age > 0.1


def test_the_floor_passes_what_was_dropped(tmp_path: Path) -> None:
    with box(tmp_path, max_rows=2) as outbox:
        outbox.put(5)
        outbox.settle()
        assert outbox.floor() == 3
    with box(tmp_path, max_rows=2, policy="drop_newest") as outbox:
        outbox.put(3)
        outbox.settle()
        assert (outbox.all(), outbox.floor(), outbox.committed()) == ([3, 4], 3, 7)
        outbox.confirm(4)
        outbox.settle()
        assert outbox.floor() == 8
