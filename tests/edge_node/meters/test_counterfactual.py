"""What all-cloud would have carried: to the byte where the calls tell, and never less than was sent."""

from edge_node.meters.counterfactual import CloudOnly, Reading
from edge_node.metrics import DIRECTIONS, Meter, amount

FRAMING, ANSWER, SIZE = 150.0, 90.0, 1000.0
HANDSHAKE = 4000.0


class Node:
    """A node whose calls cost so much each; look at what it did by calling it."""

    def __init__(self) -> None:
        self.read = Reading(0, 0, 0, 0, 0, 0, 0)
        self.meter = Meter()
        self.cloud_only = CloudOnly(self.meter, lambda: self.read)

    def connect(self) -> None:
        sent, received = self.read.sent + HANDSHAKE, self.read.received + HANDSHAKE
        self.read = self.read._replace(sent=sent, received=received)
        self.cloud_only.look(settled=False)

    def answer(self, samples: int, calls: int) -> None:
        before = self.read
        self.read = Reading(
            before.samples + samples,
            before.calls + calls,
            before.answers + calls,
            before.sent + calls * (SIZE + FRAMING),
            before.received + calls * ANSWER,
            before.payload + calls * SIZE,
            before.all_payload + samples * SIZE,
        )
        self.cloud_only.look(settled=True)

    def counted(self) -> tuple[float, ...]:
        return tuple(amount(self.meter.cloud_only_network.labels(it)) for it in DIRECTIONS)


def test_a_node_that_sends_all_has_nothing_to_add() -> None:
    node = Node()
    node.connect()
    node.answer(samples=50, calls=50)
    assert node.counted() == (node.read.sent, node.read.received)


def test_what_was_kept_would_have_cost_as_much_as_what_was_sent_but_for_the_handshake() -> None:
    node, all_cloud = Node(), Node()
    for it, calls in ((node, 20), (all_cloud, 100)):
        it.connect()
        it.answer(samples=100, calls=calls)
    assert node.counted() == all_cloud.counted()
    assert all_cloud.counted()[0] == HANDSHAKE + 100 * (SIZE + FRAMING)


def test_before_the_first_call_it_is_the_payload() -> None:
    node = Node()
    node.answer(samples=10, calls=0)
    assert node.counted() == (10 * SIZE, 0)


def test_an_estimate_that_falls_does_not_count_backwards() -> None:
    node = Node()
    node.connect()
    node.answer(samples=1000, calls=1)
    before = node.counted()
    node.read = node.read._replace(calls=node.read.calls + 100)  # calls of which the bytes are late
    node.cloud_only.look(settled=True)
    assert node.counted() == before
