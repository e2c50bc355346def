"""``kill -9`` at every point of a transaction and at any moment: nothing lost, nothing twice, in order."""

import os
import time
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest

from tests.chaos.killed import POINTS, RECEIVED, SAMPLES, live, received

PATIENCE = 60
SEEDS = 20
MOMENTS = 10
"""Kills at any moment for each seed."""

fork = get_context("forkserver")
fork.set_forkserver_preload(["tests.chaos.killed"])


def run(folder: Path, point: str | None = None, count: int = 0, *, careful: bool = True) -> int:
    """Exit code of a life."""
    process = fork.Process(target=live, args=(folder, point, count), kwargs={"careful": careful})
    process.start()
    process.join(PATIENCE)
    assert process.exitcode is not None
    return process.exitcode


def run_until(folder: Path, seconds: float) -> None:
    """A life that somebody else ends."""
    process = fork.Process(target=live, args=(folder,))
    process.start()
    time.sleep(seconds)
    process.kill()
    process.join(PATIENCE)


def lost_and_repeated(folder: Path) -> tuple[int, int]:
    """Samples without a result, and results too many for a sample; the numbers must be an unbroken count."""
    results = {result.id: result for result in received(folder)}
    assert sorted(result.seq for result in results.values()) == list(range(len(results)))
    samples = {result.sample for result in results.values()}
    return SAMPLES - len(samples), len(results) - len(samples)


def killed_at_points(folder: Path, points: Iterable[str], dice: Random, *, careful: bool = True) -> None:
    for point in points:
        assert run(folder, point, dice.randint(1, 5), careful=careful) == -SIGKILL
    assert run(folder, careful=careful) == 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_every_point(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    killed_at_points(tmp_path, dice.sample(list(POINTS), len(POINTS)), dice)
    assert lost_and_repeated(tmp_path) == (0, 0)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    for _ in range(MOMENTS):
        run_until(tmp_path, dice.uniform(0.01, 0.1))
    assert run(tmp_path) == 0
    assert lost_and_repeated(tmp_path) == (0, 0)


def test_a_message_cut_off_in_the_middle_comes_again(tmp_path: Path) -> None:
    assert run(tmp_path, "before checkpoint", 5) == -SIGKILL
    arrived = tmp_path / RECEIVED
    os.truncate(arrived, arrived.stat().st_size - 100)
    assert run(tmp_path) == 0
    assert lost_and_repeated(tmp_path) == (0, 0)


def test_a_place_that_is_kept_elsewhere_would_lose_samples(tmp_path: Path) -> None:
    killed_at_points(tmp_path, ["before commit", "after insert"], Random(0), careful=False)
    assert lost_and_repeated(tmp_path)[0] > 0
