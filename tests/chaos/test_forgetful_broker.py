"""A broker that forgets what it has acknowledged: Mosquitto as it comes, killed in mid-stream.

Beside the node that waits for the sink's word, and one that finds out by itself that there is a sink,
runs one that takes the broker's: the same results through the same deaths. What it loses shows that the
test can see a loss.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


def deaths(folder: Path, count: int) -> tuple[dict[str, int], int]:
    """Results lost by so many deaths of the broker, by who confirms them; of how many."""
    random = Random(1)
    with (
        mosquitto(folder, "allow_anonymous true") as broker,
        sink(broker, folder) as stand,
        ExitStack() as stack,
    ):
        nodes = {
            name: stack.enter_context(publishing(broker.port, folder, name=name, outbox={"confirm": name}))
            for name in ("sink", "auto", "puback")
        }
        nodes["auto"].publish(1)
        assert wait_until(lambda: nodes["auto"].outbox.confirmation.by_sink, LONG)
        with ExitStack() as streams:
            for node in nodes.values():
                streams.enter_context(streaming(node))
            for _ in range(count):
                assert flows(stand, "sink")
                die(broker, stand, random)
        losses = {
            name: lost(node, stand, name, QUIET if name == "puback" else LONG) for name, node in nodes.items()
        }
        assert stand.duplicates() == 0
        return losses, nodes["sink"].outbox.committed() + 1


def test_a_broker_that_forgets_costs_nothing_but_where_its_word_is_taken(tmp_path: Path) -> None:
    losses, made = deaths(tmp_path, 20)
    print(f"20 deaths of the broker: of {made} results lost, by who confirms: {losses}")  # noqa: T201
    assert losses["sink"] == losses["auto"] == 0
    assert losses["puback"] > 0
