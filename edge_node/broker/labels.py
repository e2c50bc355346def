"""Labels that come late: the truth of samples whose results are long out, by MQTT, or by ``edge-node label``.

They tell the certificate what no audit can: who was right where edge and cloud differ.
"""

import csv
import logging
from collections.abc import Iterable, Iterator, Sequence
from queue import Empty, Queue
from uuid import uuid4

import msgspec
from paho.mqtt.reasoncodes import ReasonCode

from edge_node.broker import mqtt
from edge_node.config import Mqtt
from edge_node.errors import NodeError
from edge_node.gate.oversight import Oversight
from edge_node.metrics import Meter

BATCH = 500
"""Labels in one message."""
PATIENCE = 10.0
"""Seconds for the broker's word on each."""

log = logging.getLogger(__name__)


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sample really was."""

    id: str
    """Of its result."""
    label: str


_DECODER = msgspec.json.Decoder(Label | list[Label])


class Labels:
    """Takes the labels that arrive at a node."""

    def __init__(self, oversight: Oversight, names: Sequence[str], meter: Meter) -> None:
        """``names``: the model's labels, in the order of its logits."""
        self._oversight, self._meter = oversight, meter
        self._classes = {name: index for index, name in enumerate(names)}

    def take(self, payload: bytes) -> None:
        """A JSON object ``{"id": ..., "label": ...}``, or an array of them; whatever it is, it is counted."""
        try:
            found = _DECODER.decode(payload)
        except msgspec.DecodeError as error:
            self._meter.labels["invalid"].inc()
            return log.warning("a message of labels cannot be read: %s", error)
        for label in found if isinstance(found, list) else [found]:
            self._meter.labels[self._learn(label)].inc()
        return None

    def _learn(self, label: Label) -> str:
        truth = self._classes.get(label.label)
        if truth is None:
            return "invalid"
        return "used" if self._oversight.label(label.id, truth) else "unknown"


def read(lines: Iterable[str]) -> Iterator[Label]:
    """``id,label`` a line; ``NodeError`` names the line that is something else."""
    for number, row in enumerate(csv.reader(lines), start=1):
        match row:
            case [name, label] if name.count(".") == 3:
                yield Label(name, label)
            case []:
                pass
            case _:
                raise NodeError(
                    f"labels, line {number}: {','.join(row)!r} is not a result's id and its label"
                )


def send(settings: Mqtt, labels: Iterable[Label]) -> int:
    """Publish each label to its node's topic; how many. ``NodeError`` if the broker does not take them."""
    by_node: dict[str, list[Label]] = {}
    for label in labels:
        site, node, *_ = label.id.split(".")
        by_node.setdefault(f"{settings.root}/{site}/{node}/label", []).append(label)
    batches = [
        (topic, msgspec.json.encode(own[start : start + BATCH]))
        for topic, own in by_node.items()
        for start in range(0, len(own), BATCH)
    ]
    _publish(settings, batches)
    return sum(map(len, by_node.values()))


def _publish(settings: Mqtt, batches: list[tuple[str, bytes]]) -> None:
    client, said = mqtt.client(settings, f"labels-{uuid4().hex[:8]}"), Queue[ReasonCode]()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: said.put(reason)
    client.on_publish = lambda _client, _data, _mid, reason, _properties: said.put(reason)
    try:
        client.connect(settings.host, settings.port)
        client.loop_start()
        _require(said)
        for topic, payload in batches:
            client.publish(topic, payload, qos=1)
            _require(said)
    except (OSError, Empty, _RefusedError) as error:
        problem = str(error) or f"says nothing for {PATIENCE:.0f} s"
        raise NodeError(f"broker {settings.host}:{settings.port}: {problem}") from error
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_connect = client.on_publish = None  # else a cycle keeps its sockets


class _RefusedError(Exception):
    """The broker's no."""


def _require(said: "Queue[ReasonCode]") -> None:
    reason = said.get(timeout=PATIENCE)
    if reason.is_failure:
        raise _RefusedError(f"refuses: {reason}")
