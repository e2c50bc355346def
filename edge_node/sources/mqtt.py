"""Samples from sensors that publish to the broker."""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from hashlib import blake2b
from queue import Empty, Full, Queue
from threading import Event, Lock

import msgspec
import paho.mqtt.client as paho

from edge_node import config
from edge_node.broker.connection import Connection
from edge_node.errors import NodeError
from edge_node.metrics import Meter
from edge_node.sample import Sample
from edge_node.sources.parse import json_array

AHEAD = 256
"""Messages beyond those that wait for the model: their results are on their way to the disk."""
_MOST = 65_535
"""Messages that MQTT can have under way."""
_TICK = 0.2
"""Seconds between looks at ``stop``."""

Place = tuple[int, int]
"""Session with the broker, as this process counts them, and the packet identifier in it."""


class MqttBookmark:
    """Which messages need not be taken again, though the broker may send them again.

    A message is acknowledged once its result is on the disk. If the link fails then, the broker sends
    it again and marks it so; packet identifier and digest tell that it is the same. Acknowledgements
    go out in order, so those that a broker may have missed are among the last it waits for.
    """

    def __init__(self, saved: bytes | None, acknowledge: Callable[[int], None], at_once: int) -> None:
        self._acknowledge, self._at_once = acknowledge, at_once
        self._kept = OrderedDict(_load(saved))
        self._taken: dict[int, bytes] = {}
        self._session = 0
        self._lock = Lock()

    def begin(self, *, resumed: bool) -> None:
        """A broker that remembers nothing sends nothing again, and numbers anew."""
        with self._lock:
            if not resumed:
                self._kept.clear()
                self._taken.clear()
                self._session += 1

    def take(self, mid: int, digest: bytes, *, again: bool) -> Place | None:
        """Where a message stands that has arrived; ``None`` if it was taken before."""
        with self._lock:
            if again and digest == self._kept.get(mid):
                self._acknowledge(mid)
                return None
            if again and digest == self._taken.get(mid):
                return None
            self._kept.pop(mid, None)
            self._taken[mid] = digest
            return self._session, mid

    def drop(self, place: Place) -> None:
        """It will have no result."""
        session, mid = place
        with self._lock:
            if session == self._session and self._taken.pop(mid, b""):
                self._acknowledge(mid)

    def dump(self, places: Collection[Place] = ()) -> bytes:
        """As ``Bookmark``."""
        with self._lock:
            return msgspec.msgpack.encode(self._with(places))

    def finish(self, places: Collection[Place]) -> None:
        """As ``Bookmark``: the broker may forget them."""
        with self._lock:
            self._kept = self._with(places)
            for session, mid in places:
                if session == self._session and self._taken.pop(mid, b""):
                    self._acknowledge(mid)

    def _with(self, places: Collection[Place]) -> OrderedDict[int, bytes]:
        """What is kept, and these: as many as the broker may have missed the word on."""
        kept = OrderedDict(self._kept)
        for session, mid in places:
            if session == self._session and mid in self._taken:
                kept[mid] = self._taken[mid]
        while len(kept) > self._at_once:
            kept.popitem(last=False)
        return kept


class MqttSource:
    """Message after message; a sample is named by its topic."""

    live = True

    def __init__(self, settings: config.MqttSource, connection: Connection, meter: Meter) -> None:
        _require_useful(settings.topic, connection)
        self.topic, self.at_once = settings.topic, min(settings.queue + AHEAD, _MOST)
        self._raw, self._meter, self._connection = settings.encoding == "raw", meter, connection
        self._waiting: Queue[Sample] = Queue(settings.queue)
        self._bookmark = self.resume(None)
        connection.subscribe(self)

    def key(self) -> str:
        """As ``Replayable``."""
        return f"mqtt {self.topic}"

    def resume(self, saved: bytes | None) -> MqttBookmark:
        """As ``Replayable``."""
        self._bookmark = MqttBookmark(saved, self._connection.receipt, self.at_once)
        return self._bookmark

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Messages as they arrive, until ``stop``."""
        while not stop.is_set():
            with suppress(Empty):
                yield self._waiting.get(timeout=_TICK)

    def begin(self, *, resumed: bool) -> None:
        """As ``Incoming``."""
        self._bookmark.begin(resumed=resumed)

    def take(self, message: paho.MQTTMessage) -> None:
        """As ``Incoming``; what was sent without a guarantee has no place.

        The broker's session also has the filters of earlier settings.
        """
        payload, place = bytes(message.payload), None
        if not paho.topic_matches_sub(_bare(self.topic), message.topic):
            return self._connection.receipt(message.mid) if message.qos else None
        if message.qos:
            digest = blake2b(message.topic.encode() + b"\0" + payload, digest_size=8).digest()
            place = self._bookmark.take(message.mid, digest, again=message.dup)
            if place is None:
                return None
        return self._queue(Sample(message.topic, payload if self._raw else json_array(payload), place=place))

    def _queue(self, sample: Sample) -> None:
        while True:
            try:
                return self._waiting.put_nowait(sample)
            except Full:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        with suppress(Empty):
            dropped = self._waiting.get_nowait()
            self._meter.dropped_samples.inc()
            if isinstance(dropped.place, tuple):
                self._bookmark.drop(dropped.place)


def _bare(topic: str) -> str:
    """The filter, without the group that shares it."""
    return re.sub(r"^\$share/[^/]+/", "", topic)


def _load(saved: bytes | None) -> dict[int, bytes]:
    try:
        return msgspec.msgpack.decode(saved, type=dict[int, bytes]) if saved else {}
    except msgspec.DecodeError:
        return {}


def _require_useful(topic: str, connection: Connection) -> None:
    """``NodeError`` if ``topic`` is no topic filter, or covers what this node or its sink has to say."""
    *first, _ = levels = topic.split("/")
    if "#" in first or any(len(level) > 1 and {"+", "#"} & set(level) for level in levels):
        raise NodeError(
            f"[source] topic {topic!r}: + stands for one whole level, # for all levels at the end"
        )
    bare = _bare(topic)
    for own, what in ((connection.topic("result"), "results"), (connection.topic("ack"), "acks")):
        if paho.topic_matches_sub(bare, own):
            raise NodeError(f"[source] topic {topic!r} would feed this node its own {what} ({own})")
