"""kill -9 of a node while its results are on their way: around publication, the broker's word, the sink's."""

from multiprocessing import get_context
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest

from deploy.demo.broker import Broker
from deploy.demo.processes import wait_until
from tests.chaos.killed_publisher import PATIENCE, POINTS, SAMPLES, Life, live
from tests.chaos.sink_stand import LONG, Stand, sink

fork = get_context("forkserver")
fork.set_forkserver_preload(["tests.chaos.killed_publisher"])


MOMENTS = 10
"""Lives of a node that end at any moment, for each seed."""
MOST = {"publish": 40, "PUBACK": 40, "sink ack": 1}
"""Times that a life comes to such a point at least: each has 50 samples of its own."""

seeds = pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(it, marks=pytest.mark.slow) for it in range(2, 20))]
)


def lived(life: Life, seconds: float = 2 * PATIENCE) -> int:
    """Exit code of a life; it ends after so many seconds, if not before."""
    process = fork.Process(target=live, args=(life,))
    process.start()
    process.join(seconds)
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode is not None
    return process.exitcode


def all_is_stored_once_in_order(life: Life, stand: Stand) -> None:
    """After one more life, which nobody ends."""
    assert lived(life) == 0
    assert wait_until(lambda: stand.count("a") >= SAMPLES, LONG)
    assert stand.samples("a") == [str((0, row)) for row in range(SAMPLES)]
    assert stand.seqs("a") == list(range(SAMPLES))


@seeds
def test_killed_between_outbox_and_sink(broker: Broker, root: str, tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    with sink(broker, tmp_path, root) as stand:
        for turn, point in enumerate(dice.sample(POINTS, len(POINTS)), 1):
            count = dice.randint(1, MOST[point.partition(" ")[2]])
            assert lived(Life(tmp_path, broker.port, root, 50 * turn, point, count)) == -SIGKILL
        all_is_stored_once_in_order(Life(tmp_path, broker.port, root, SAMPLES), stand)


@seeds
def test_killed_at_any_moment_on_the_way(broker: Broker, root: str, tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    with sink(broker, tmp_path, root) as stand:
        for turn in range(1, MOMENTS + 1):
            lived(Life(tmp_path, broker.port, root, SAMPLES * turn // MOMENTS), dice.uniform(0.05, 0.5))
        all_is_stored_once_in_order(Life(tmp_path, broker.port, root, SAMPLES), stand)


def test_what_is_let_go_when_it_is_sent_is_lost(broker: Broker, root: str, tmp_path: Path) -> None:
    with sink(broker, tmp_path, root) as stand:
        assert lived(Life(tmp_path, broker.port, root, SAMPLES, "after publish", 1, hasty=True)) == -SIGKILL
        assert lived(Life(tmp_path, broker.port, root, SAMPLES)) == 0
        assert stand.count("a") <= 1  # what was on its way at the end; nothing else is left to send
