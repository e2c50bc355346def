"""Results on their way to the broker: by way of the outbox, until somebody else has them."""

import logging
import math
from collections import deque
from collections.abc import Hashable, Sequence

import msgspec
from paho.mqtt.reasoncodes import ReasonCode

from edge_node.broker.connection import Connection
from edge_node.broker.lanes import BATCH, Lane, Pace, Wait
from edge_node.broker.suspects import Suspects
from edge_node.broker.traffic import Message
from edge_node.config import Outbox as Settings
from edge_node.metrics import Meter
from edge_node.outbox import Held, Outbox, Row
from protos import ack
from protos.result import Result

PAUSE = (1.0, 60.0)
"""Seconds between questions whether the broker takes results again: at first, and at most."""
SILENCE = (5.0, 60.0)
"""Seconds without a word of the results sink until it is asked: at first, and at most."""
TRIES = 3
"""Refusals without a cause in a row from which a result is given up, so that it holds up no other."""

_NOBODY = 0x10
_NO_CAUSE = {0x80, 0x83}
_NOT_NOW = {0x91, 0x97}
"""MQTT 5 reason codes: no matching subscribers; unspecified, implementation specific; packet identifier in
use, quota exceeded."""

_REPLAYED = b'"replayed":false', b'"replayed":true'
"""In the bytes that were encoded once; only a key looks like that, in a string quotes are escaped."""

log = logging.getLogger(__name__)


class _Number(msgspec.Struct):
    seq: int


_NUMBER = msgspec.json.Decoder(_Number)


class MqttPublisher:
    """From the outbox to the broker in two lanes: what is new first, what had to wait at a set rate.

    A row leaves the outbox by the broker's word or by the results sink's. While neither takes any,
    one row goes from time to time to find out; what will never be taken is a dead letter.
    """

    def __init__(self, connection: Connection, outbox: Outbox, settings: Settings, meter: Meter) -> None:
        self._connection, self._outbox, self._meter = connection, outbox, meter
        self._confirmation, self._keep_unheard = outbox.confirmation, settings.unheard == "keep"
        self._topic = connection.topic("result")
        self._appended = self._highest = -1
        self._open = self._alone = self._say_floor = False
        self._live = self._replay = Lane(outbox, -1, before=0)
        self._pace = Pace(settings.replay_rate)
        self._pause, self._silence = Wait(*PAUSE), Wait(*SILENCE)
        self._probed: int | None = None
        self._suspects = Suspects()
        self._aside: deque[Row] = deque()
        self._said: set[str] = set()
        connection.carry(self)
        if self._confirmation.listens:
            connection.listen(connection.topic("ack"), self._confirmed)
        outbox.on_commit(connection.wake)

    def publish(
        self, result: Result, *, place: Hashable = None, hold: Held | None = None, release: str | None = None
    ) -> None:
        """As ``Publisher``: it goes out once it is on the disk."""
        self._appended = max(self._appended, result.seq)
        self._outbox.append(result, place, hold, release)

    def begin(self) -> None:
        """As ``Outgoing``: what waits now is to be replayed, what comes from now on is live."""
        border = self._outbox.committed() + 1
        self._replay = Lane(self._outbox, self._outbox.floor() - 1, before=border)
        self._live = Lane(self._outbox, border - 1)
        self._pause.stop()
        self._silence.stop()
        self._aside.clear()
        self._suspects.clear_below(self._outbox.floor())
        self._probed, self._open = None, True

    def next(self, *, busy: bool) -> Message | float:
        """As ``Outgoing``."""
        self._alone &= busy
        if self._alone or (busy and self._pause.runs()):
            return math.inf
        if self._pause.runs():
            return self._pause.left() or self._probe(self._pause)
        if self._say_floor:
            return self._again()
        if not self._silence.left():
            return self._probe(self._silence)
        return self._proceed(busy=busy)

    def answered(self, message: Message, reason: ReasonCode) -> None:
        """As ``Outgoing``: what is taken leaves the outbox, unless it is for the sink to say so."""
        self._suspects.clear(message.seq)
        if self._for_now(reason.value):
            return self._hold_back()
        if reason.is_failure:
            self._give_up(message.seq, "refused", f"the broker refuses it: {reason}")
        elif not self._confirmation.by_sink:
            self._outbox.confirm_each([message.seq])
        if message.probe and self._pause.runs():
            self.begin()
        return None

    def too_large(self, message: Message, problem: str) -> None:
        """As ``Outgoing``."""
        self._give_up(message.seq, "oversize", f"too large: {problem}")

    def ended(self, under_way: Sequence[Message], reason: ReasonCode | None) -> None:
        """As ``Outgoing``."""
        self._open = False
        if reason and (guilty := self._suspects.guilty(under_way, reason)) is not None:
            self._give_up(guilty, "refused", f"the broker ends the connection: {reason}")

    def idle(self) -> bool:
        """As ``Outgoing``: all that waits has been sent, or cannot be for now."""
        committed = self._outbox.committed()
        if self._pause.runs() or self._outbox.floor() > max(self._appended, committed):
            return True
        return (
            self._open
            and committed >= self._appended
            and not (self._live.peek() or self._replay.peek() or self._aside)
        )

    def close(self) -> None:
        """As ``Outgoing``."""
        if left := self._outbox.depth().rows:
            log.info("%d results are not confirmed yet: they wait in the outbox for the next start", left)

    def _proceed(self, *, busy: bool) -> Message | float:
        """What is new, then what had to wait, at last what is suspect, and that alone."""
        if row := self._live.peek():
            return self._pass(self._live, row)
        if row := self._replay.peek():
            return self._pace.left() or self._pass(self._replay, row)
        if self._aside and not busy:
            self._alone = True
            return self._repeat(self._aside.popleft(), self._outbox.floor())
        return self._silence.left()

    def _pass(self, lane: Lane, row: Row) -> Message | float:
        """The row that a lane has come to."""
        floor = None if lane.take() else self._outbox.floor()
        if self._suspects.has(row.seq):
            self._aside.append(row)
            return 0.0
        if lane is self._live:
            return self._message(row, floor)
        self._pace.take()
        return self._repeat(row, floor)

    def _probe(self, wait: Wait) -> Message | float:
        """A row to find out whether it is taken now."""
        wait.again()
        message = self._again()
        if not isinstance(message, Message):
            wait.stop()
            return message
        self._probed = message.seq
        return message._replace(probe=True)

    def _again(self) -> Message | float:
        """The oldest row once more, or seconds if there is none."""
        self._say_floor = False
        oldest = self._outbox.rows(self._outbox.floor() - 1, BATCH)
        repeated = (self._repeat(row, floor=row.seq) for row in oldest)
        return next((it for it in repeated if isinstance(it, Message)), 0.0)

    def _repeat(self, row: Row, floor: int | None) -> Message | float:
        """The row, saying that it was not sent when it was made."""
        if not _readable(row):
            self._give_up(row.seq, "corrupt", "it cannot be read")
            return 0.0
        return self._message(row._replace(payload=row.payload.replace(*_REPLAYED, 1)), floor)

    def _message(self, row: Row, floor: int | None) -> Message:
        self._highest = max(self._highest, row.seq)
        if self._confirmation.by_sink and not self._silence.runs():
            self._silence.start()
        return Message(self._topic, row.payload, row.seq, floor)

    def _for_now(self, code: int) -> bool:
        """Whether a refusal is none for good."""
        if code in _NO_CAUSE:
            return self._pause.times < TRIES
        return code in _NOT_NOW or (code == _NOBODY and (self._keep_unheard or self._confirmation.by_sink))

    def _hold_back(self) -> None:
        """Nothing goes but a probe from time to time."""
        if not self._pause.runs():
            log.warning("the broker takes no results for now, or has nobody to give them to: they wait")
            self._pause.start()

    def _give_up(self, seq: int, kind: str, reason: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            log.error("result %d is a dead letter, and maybe not the last: %s", seq, reason)
        self._meter.dropped[kind].inc()
        self._outbox.dead(seq, reason)

    def _confirmed(self, payload: bytes) -> None:
        """The sink's word: up to a number of this outbox's own count all is stored, or never comes."""
        try:
            word = ack.decode(payload)
        except msgspec.MsgspecError as error:
            return log.warning("%s: no word of a results sink: %s", self._connection.topic("ack"), error)
        if not self._confirmation.by_sink:
            self._silence.start()  # what the broker has not confirmed by now waits for the sink as well
        self._confirmation.hear()
        if word.stream != self._outbox.stream or self._outbox.outdated:
            return None
        if word.seq > max(self._highest, self._outbox.next_seq - 1):
            return self._outbox.outdate()
        if word.seq >= self._outbox.floor():
            self._outbox.confirm(word.seq)
            self._go_on(word.seq)
        return None

    def _go_on(self, upto: int) -> None:
        """The sink has moved. If it took a probe to move it, what it has not stored by now it never got."""
        waiting = self._outbox.rows(upto, 1)
        self._say_floor = bool(waiting) and upto + 1 < waiting[0].seq <= self._highest
        self._silence.stop()
        if self._probed is not None and self._probed <= upto:
            self.begin()
        elif upto < self._highest:
            self._silence.start()


def _readable(row: Row) -> bool:
    """Whether the sink can find its number: it could never confirm it else."""
    try:
        return _NUMBER.decode(row.payload).seq == row.seq
    except msgspec.MsgspecError:
        return False
