"""A thread that hears the broker, connection after connection: what sink and bridge have in common."""

import logging
from abc import ABC, abstractmethod
from threading import Event, Thread
from types import TracebackType
from typing import Self

from paho.mqtt.client import MQTTMessage
from prometheus_client import Gauge

from cloud_server.backoff import BackOff
from cloud_server.fleet.broker import Connection, Interest, Login

log = logging.getLogger(__name__)


class Listener(ABC):
    """Listens while inside; it outlives the loss of its broker, and its own mistakes."""

    grace: float | None = None
    """Seconds to wait on leaving for what is under way; ``None``: as long as it takes."""

    def __init__(self, login: Login, interest: Interest, name: str, connected: Gauge) -> None:
        self._login, self._interest, self._gauge = login, interest, connected
        self._stop = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._connected = False
        self._said = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self.grace)

    @property
    def hearing(self) -> bool:
        """Whether the broker is there: without it nothing new can come."""
        return self._connected

    @abstractmethod
    def _patience(self) -> float:
        """Seconds to wait for a message at most."""

    @abstractmethod
    def _take(self, message: MQTTMessage) -> None:
        """What has arrived."""

    @abstractmethod
    def _work(self, *, quiet: bool) -> None:
        """What is due; ``quiet``: nothing has arrived meanwhile."""

    def _leave(self) -> None:  # noqa: B027 - nothing, unless a listener has something to say
        """The last that is done while the connection stands."""

    def _lost(self) -> None:  # noqa: B027
        """The connection is over."""

    def _confused(self) -> None:  # noqa: B027
        """There was a mistake of ours."""

    def _run(self) -> None:
        back_off = BackOff()
        while not self._stop.is_set():
            try:
                try:
                    self._serve(back_off)
                finally:
                    self._lost()
            except OSError as error:
                self._say(str(error))
            except Exception:
                log.exception("the %s made a mistake; it goes on with a new connection", self._thread.name)
                self._confused()
            self._connected = False
            self._gauge.set(0)
            self._stop.wait(back_off.failed())

    def _serve(self, back_off: BackOff) -> None:
        """One connection, to its end."""
        with Connection(self._login, self._interest, self._take) as self._connection:
            while self._connection.alive and not self._stop.is_set():
                arrived = self._connection.turn(self._patience())
                if self._connection.subscribed and not self._connected:
                    back_off.succeeded()
                    self._begin()
                self._work(quiet=not arrived)
            if self._stop.is_set():
                self._leave()
            else:
                self._say(self._connection.problem)

    def _begin(self) -> None:
        self._connected, self._said = True, ""
        self._gauge.set(1)
        topics = ", ".join(topic for topic, _ in self._interest.topics)
        log.info("broker %s: the %s listens to %s", self._login.mqtt.host, self._thread.name, topics)

    def _say(self, problem: str) -> None:
        """What is wrong with the broker, unless that was the last thing said."""
        if problem != self._said:
            self._said = problem
            log.warning("broker %s: %s: %s; trying again", self._login.mqtt.host, self._thread.name, problem)
