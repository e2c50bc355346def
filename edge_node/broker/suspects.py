"""Which message makes a broker end the connection, if it is one: else it would do so for ever."""

from collections.abc import Sequence

from paho.mqtt.reasoncodes import ReasonCode

from edge_node.broker.traffic import Message

SUSPECT, GUILTY = 2, 5
"""Connections that ended while a message was under way: from here on it goes alone; from here on no more."""
TOO_LARGE = 0x95
UNSPECIFIED = 0x80
AT_FAULT = {0x81, 0x82, 0x90, TOO_LARGE, 0x99}
"""What a broker says of a message that it cannot bear: malformed, against the protocol, or its topic name,
its size, its payload. A connection that is just gone is unspecified; all else has other causes."""


class Suspects:
    """Messages, by the numbers of their rows, that were under way when a connection ended.

    Until there was a word on one it is not forgotten: two that are bad would clear each other for ever.
    """

    def __init__(self) -> None:
        self._losses: dict[int, int] = {}

    def clear(self, seq: int) -> None:
        """There was a word on it."""
        self._losses.pop(seq, None)

    def clear_below(self, floor: int) -> None:
        """These wait no more."""
        self._losses = {seq: losses for seq, losses in self._losses.items() if seq >= floor}

    def has(self, seq: int) -> bool:
        """Whether it is to go alone."""
        return self._losses.get(seq, 0) >= SUSPECT

    def guilty(self, under_way: Sequence[Message], reason: ReasonCode) -> int | None:
        """The one that is not to be sent any more, now that a connection ended with these under way.

        A link that is bad takes many with it by chance; only what was there time and again, and alone in
        the end, did it.
        """
        code = reason.value
        if not under_way or code not in {*AT_FAULT, UNSPECIFIED}:
            return None
        if code == TOO_LARGE:  # if any of them was, the largest was
            return max(under_way, key=lambda message: len(message.payload)).seq
        step = SUSPECT if code in AT_FAULT else 1
        for message in under_way:
            self._losses[message.seq] = self._losses.get(message.seq, 0) + step
        last, *others = under_way
        proven = 2 * SUSPECT if code in AT_FAULT else GUILTY
        return last.seq if not others and self._losses[last.seq] >= proven else None
