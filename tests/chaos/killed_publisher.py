"""A source and its publisher in a process that kills itself at a named point on the way to the sink."""

from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.reasoncodes import ReasonCode

from deploy.demo.processes import HOST, wait_until
from edge_node import config
from edge_node.bookmark import OrderedBookmark
from edge_node.broker.connection import Connection
from edge_node.broker.publisher import MqttPublisher
from edge_node.broker.traffic import OWN, Message
from edge_node.config import Mqtt, Node
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.outbox import Outbox
from tests.countdown import Countdown
from tests.results import result

POINTS = tuple(f"{when} {what}" for what in ("publish", "PUBACK", "sink ack") for when in ("before", "after"))
SAMPLES = 400
LINGER = 0.01
PATIENCE = 60.0


class DyingConnection(Connection):
    """Passes the points of a publication."""

    countdown: Countdown

    def _publish(self, message: Message, *more: Any, **named: Any) -> None:
        own = message.seq == OWN
        self.countdown.reach("" if own else "before publish")
        super()._publish(message, *more, **named)
        self.countdown.reach("" if own else "after publish")


class DyingPublisher(MqttPublisher):
    """Passes the points of its confirmation."""

    countdown: Countdown

    def answered(self, message: Message, reason: ReasonCode) -> None:
        self.countdown.reach("before PUBACK")
        super().answered(message, reason)
        self.countdown.reach("after PUBACK")

    def _confirmed(self, payload: bytes) -> None:
        self.countdown.reach("before sink ack")
        super()._confirmed(payload)
        self.countdown.reach("after sink ack")


class HastyPublisher(DyingPublisher):
    """Lets go of all there is as soon as it sends one of it."""

    def next(self, *, busy: bool) -> Message | float:
        found = super().next(busy=busy)
        if isinstance(found, Message):
            wait_until(lambda: self._outbox.committed() == SAMPLES - 1, PATIENCE)
            self._outbox.confirm(SAMPLES - 1)
            wait_until(lambda: self._outbox.floor() == SAMPLES, PATIENCE)
        return found


class Life(NamedTuple):
    """How far to go, and where it ends."""

    folder: Path
    port: int
    root: str
    upto: int
    """Samples of the source so far: the last is ``SAMPLES``."""
    point: str = ""
    times: int = 0
    hasty: bool = False


def live(life: Life) -> None:
    """Go on with the source where it was, until all is stored, or to the fatal point."""
    DyingConnection.countdown = DyingPublisher.countdown = Countdown(life.point, life.times)
    meter, settings = Meter(), config.Outbox(linger=LINGER, confirm="sink")
    with Outbox(settings, life.folder / "outbox", meter) as outbox:
        identity = Identity(Node(site="lab", name="a"), outbox.session, outbox.stream)
        connection = DyingConnection(Mqtt(host=HOST, port=life.port, root=life.root), identity, dict, meter)
        publisher = (HastyPublisher if life.hasty else DyingPublisher)(connection, outbox, settings, meter)
        bookmark: OrderedBookmark = OrderedBookmark(outbox.bookmark("source"))
        outbox.follow("source", bookmark)
        left = list(bookmark.left((0, row) for row in range(life.upto)))
        last = outbox.next_seq + len(left) - 1
        with connection:
            for seq, place in enumerate(left, outbox.next_seq):
                made = result(id=identity.result_id(seq), seq=seq, stream=identity.stream, sample=str(place))
                publisher.publish(made, place=place)
            wait_until(lambda: outbox.committed() >= last and outbox.floor() > last, PATIENCE)
