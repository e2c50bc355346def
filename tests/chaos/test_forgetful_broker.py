"""A broker that forgets what it has acknowledged: Mosquitto as it comes, killed in mid-stream.

Beside the node that waits for the sink's word runs one that takes the broker's: the same results
through the same deaths. What it loses shows that the test can see a loss.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event, Thread

from deploy.demo.broker import Broker
from deploy.demo.processes import wait_until
from tests.chaos.sink_stand import LONG, Stand, sink
from tests.mqtt import kill, mosquitto, restart
from tests.publishing import Publishing, publishing

PACE = 0.002
"""Seconds between results."""
QUIET = 3.0
"""Seconds without a further result after which none comes."""


@contextmanager
def streaming(node: Publishing) -> Iterator[None]:
    """It makes results without a pause."""
    stop = Event()

    def stream() -> None:
        while not stop.wait(PACE):
            node.publish(1)

    thread = Thread(target=stream)
    thread.start()
    yield
    stop.set()
    thread.join()


def flows(stand: Stand, name: str) -> bool:
    """Whether something new is stored, or soon."""
    before = stand.count(name)
    return wait_until(lambda: stand.count(name) > before, LONG)


def die(broker: Broker, stand: Stand, random: Random) -> None:
    """In mid-stream, at times with more in its queues than it has passed on."""
    time.sleep(random.uniform(0.05, 0.3))
    if random.random() < 0.5:
        os.kill(stand.process.pid, signal.SIGSTOP)
        time.sleep(0.2)
        kill(broker)
        os.kill(stand.process.pid, signal.SIGCONT)
    else:
        kill(broker)
    restart(broker)


def lost(node: Publishing, stand: Stand, name: str, patience: float) -> int:
    """Results that are not in the store, once the node waits for nothing any more."""
    assert node.empty(LONG)
    made = node.outbox.committed() + 1
    wait_until(lambda: stand.count(name) == made, patience)
    return made - stand.count(name)


def deaths(folder: Path, count: int) -> tuple[int, int, int]:
    """Results lost by so many deaths of the broker, with the sink's word and with its own; of how many."""
    random = Random(1)
    with (
        mosquitto(folder, "allow_anonymous true") as broker,
        sink(broker, folder) as stand,
        publishing(broker.port, folder, name="sure", outbox={"confirm": "sink"}) as sure,
        publishing(broker.port, folder, name="hopeful", outbox={"confirm": "puback"}) as hopeful,
    ):
        with streaming(sure), streaming(hopeful):
            for _ in range(count):
                assert flows(stand, "sure")
                die(broker, stand, random)
        losses = lost(sure, stand, "sure", LONG), lost(hopeful, stand, "hopeful", QUIET)
        assert stand.duplicates() == 0
        return *losses, sure.outbox.committed() + 1


def test_a_broker_that_forgets_costs_nothing_but_where_its_word_is_taken(tmp_path: Path) -> None:
    sure, hopeful, made = deaths(tmp_path, 20)
    print(f"20 deaths of the broker: {sure} of {made} lost with confirm = sink, {hopeful} with puback")  # noqa: T201
    assert sure == 0
    assert hopeful > 0
