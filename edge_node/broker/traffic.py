"""What a connection to the broker carries, and for whom."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

OWN = -1
"""The number of the connection's own messages."""


class Message(NamedTuple):
    """One that is to be acknowledged."""

    topic: str
    payload: bytes
    seq: int = OWN
    """Number of its row in the outbox."""
    floor: int | None = None
    """Sent along: no row below it that has not arrived will still come."""
    probe: bool = False
    """Sent to find out whether things have changed."""


class Outgoing(Protocol):
    """What the connection is there to send. Its methods are called on the connection's thread."""

    def begin(self) -> None:
        """A connection stands; nothing is under way on it."""

    def next(self, *, busy: bool) -> Message | float:
        """What may go now, or the seconds after which to ask again; ``busy``: something is under way."""

    def answered(self, message: Message, reason: ReasonCode) -> None:
        """The broker's word on a message."""

    def too_large(self, message: Message, problem: str) -> None:
        """It was not sent: the broker would end the connection."""

    def ended(self, under_way: Sequence[Message], reason: ReasonCode | None) -> None:
        """The connection is over; on these messages there was no word. ``reason``, if it was not our wish."""

    def idle(self) -> bool:
        """Whether waiting would bring nothing more: all is sent that can be."""

    def close(self) -> None:
        """There will be no other connection."""


class Incoming(Protocol):
    """Messages that the broker keeps for us until we acknowledge them, by ``Connection.receipt``."""

    topic: str
    """The filter to subscribe to."""
    at_once: int
    """Messages taken before the first of them is acknowledged."""

    def begin(self, *, resumed: bool) -> None:
        """A connection stands. ``resumed``: the broker remembers what was not acknowledged on the last."""

    def take(self, message: paho.MQTTMessage) -> None:
        """One has arrived."""
