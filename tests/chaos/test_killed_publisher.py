"""kill -9 of a node while its results are on their way: around publication, the broker's word, the sink's."""

from multiprocessing import get_context
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest

from deploy.demo.broker import Broker
from deploy.demo.processes import wait_until
from tests.chaos.killed_publisher import PATIENCE, POINTS, SAMPLES, Life, live
from tests.chaos.sink_stand import LONG, sink

fork = get_context("forkserver")
fork.set_forkserver_preload(["tests.chaos.killed_publisher"])


MOST = {"publish": 40, "PUBACK": 40, "sink ack": 1}
"""Times that a life comes to such a point at least: each has 50 samples of its own."""


def lived(life: Life) -> int:
    """Exit code of a life."""
    process = fork.Process(target=live, args=(life,))
    process.start()
    process.join(2 * PATIENCE)
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(it, marks=pytest.mark.slow) for it in range(2, 20))]
)
def test_killed_between_outbox_and_sink(broker: Broker, root: str, tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    with sink(broker, tmp_path, root) as stand:
        for turn, point in enumerate(dice.sample(POINTS, len(POINTS)), 1):
            count = dice.randint(1, MOST[point.partition(" ")[2]])
            assert lived(Life(tmp_path, broker.port, root, 50 * turn, point, count)) == -SIGKILL
        assert lived(Life(tmp_path, broker.port, root, SAMPLES)) == 0
        assert wait_until(lambda: stand.count("a") >= SAMPLES, LONG)
        assert sorted(stand.samples("a")) == sorted(str((0, row)) for row in range(SAMPLES))
        assert stand.seqs("a") == list(range(SAMPLES))


def test_what_is_let_go_when_it_is_sent_is_lost(broker: Broker, root: str, tmp_path: Path) -> None:
    with sink(broker, tmp_path, root) as stand:
        assert lived(Life(tmp_path, broker.port, root, SAMPLES, "after publish", 1, hasty=True)) == -SIGKILL
        assert lived(Life(tmp_path, broker.port, root, SAMPLES)) == 0
        assert stand.count("a") <= 1  # what was on its way at the end; nothing else is left to send
