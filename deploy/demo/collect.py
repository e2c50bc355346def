"""Listens to all that the nodes publish, as anybody with a broker's address could."""

from collections import defaultdict
from collections.abc import Iterable
from threading import Event, Lock
from typing import Any, Literal, NamedTuple, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from deploy.demo.broker import Broker
from deploy.demo.errors import DemoError
from protos import result as contract
from protos.result import Result

_TIMEOUT = 10.0


class Status(msgspec.Struct):
    """Of a birth message or a last will, what matters here."""

    state: Literal["online", "offline"]


class NodeId(NamedTuple):
    """Where a node's topics are, below the root."""

    site: str
    name: str


_STATUS = msgspec.json.Decoder(Status)


class Collector:
    """Subscribes to `tidegate/#` while inside; every result is held to the contract and kept once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = Lock()
        self._subscribed = Event()
        self._results: dict[NodeId, dict[str, Result]] = defaultdict(dict)
        self._online: dict[NodeId, bool] = {}
        self._invalid: list[str] = []
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("tidegate/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect and subscribe; DemoError when the broker does not let us."""
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        if not self._subscribed.wait(_TIMEOUT):
            raise DemoError(f"the {self._broker.kind} broker takes no subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes its sockets when it is freed: not in a cycle with us, which is freed in any order
        self._client.on_message = self._client.on_subscribe = None

    def results(self, node: NodeId) -> list[Result]:
        """What the node has published so far, each result once, in order of arrival."""
        with self._lock:
            return list(self._results[node].values())

    def everything(self) -> dict[NodeId, list[Result]]:
        """`results` of every node."""
        with self._lock:
            return {node: list(results.values()) for node, results in self._results.items()}

    def online(self, node: NodeId) -> bool:
        """Whether the last word of the node, or its last will, is that it is there."""
        with self._lock:
            return self._online.get(node, False)

    def invalid(self) -> list[str]:
        """A line for each message that is not what its topic promises."""
        with self._lock:
            return list(self._invalid)

    def forget(self, nodes: Iterable[NodeId]) -> None:
        """Have the broker keep no status of these: they will not come back."""
        for site, name in nodes:
            self._client.publish(f"tidegate/{site}/{name}/status", qos=1, retain=True).wait_for_publish(
                _TIMEOUT
            )

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._lock:
            try:
                self._take(message)
            except (msgspec.DecodeError, ValueError) as error:
                self._invalid.append(f"{message.topic}: {error}")

    def _take(self, message: MQTTMessage) -> None:
        _root, site, name, leaf = message.topic.split("/")
        if leaf == "result":
            result = contract.decode(bytes(message.payload))
            if (result.site, result.node) != (site, name):
                raise ValueError(f"the result is of {result.site}/{result.node}")
            self._results[NodeId(site, name)].setdefault(result.id, result)
        elif leaf == "status" and message.payload:
            self._online[NodeId(site, name)] = _STATUS.decode(message.payload).state == "online"
