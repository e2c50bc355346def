"""Who looks for the cloud: at start, when a call leaves doubt, and while the circuit is open.

A server is used only once it has shown that it runs the model which the artifact names, and again
after every time that it was lost: what comes back may be another server.
"""

import logging
from dataclasses import dataclass
from threading import Event, Thread

import grpc

from edge_node.config import Cloud
from edge_node.errors import ModelMismatch, NodeError
from edge_node.fallback.breaker import Breaker, State
from edge_node.fallback.forecast import Forecast
from edge_node.fallback.line import Line
from edge_node.handshake import expected_model, has_streams, open_channel, verify
from protos.artifact import Artifact
from protos.inference_pb2_grpc import GRPCInferenceServiceStub

FIRST_LOOK = 2.0
"""Seconds to wait for the cloud at start; a node starts without it, too."""
LOOK = 4.0
"""Seconds later on: with the pause before it less than the ten within which a recovery is to be seen."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """How to call a server that has proved itself."""

    line: Line
    input_name: str


class Prober:
    """Keeps the route to the cloud, and the breaker informed of what it sees."""

    route: Route
    """There whenever the breaker gives a permit."""

    def __init__(self, settings: Cloud, artifact: Artifact, breaker: Breaker, forecast: Forecast) -> None:
        self._settings, self._artifact = settings, artifact
        self._breaker, self._forecast = breaker, forecast
        self._connect()
        self.trouble: str | None = None
        self._doubt, self._stopping = Event(), Event()
        self._thread = Thread(target=self._watch, name="cloud-probe", daemon=True)

    def start(self) -> None:
        """Look once, then watch; ``ModelMismatch`` if another model is there than the artifact names."""
        try:
            if self._look(FIRST_LOOK):
                self.trust()
        except ModelMismatch:
            self._disconnect()
            raise
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is under way is cancelled."""
        self._stopping.set()
        self._doubt.set()
        self._disconnect()  # a look at a cloud that hangs would take its time
        self._thread.join()
        self._disconnect()

    def doubt(self) -> None:
        """A call ended in a way that leaves open whether the cloud is there: look soon."""
        self._doubt.set()

    def lose(self, error: str) -> None:
        """Open the circuit until the cloud has been seen again; say so once for each new kind of trouble."""
        kind, _, _ = error.partition(":")  # the status: gRPC has many words for one
        if not (self.trouble or "").startswith(kind) and not self._stopping.is_set():
            log.warning("cloud %s is lost: %s", self._settings.target, error)
        self.trouble = error
        self._breaker.lost()
        self._doubt.set()

    def trust(self) -> None:
        """The circuit is closed: say so."""
        self.trouble = None
        model = expected_model(self._settings, self._artifact)
        log.info("cloud %s serves %s", self._settings.target, model)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._doubt.wait()
            self._doubt.clear()
            looks = 0
            while not self._stopping.wait(self._breaker.pause(looks)) and not self._found():
                looks += 1

    def _found(self) -> bool:
        try:
            return self._look(LOOK)
        except ModelMismatch as error:
            self.lose(str(error))
            return False

    def _look(self, timeout: float) -> bool:
        """Whether the cloud is there with the right model. ``ModelMismatch`` if it has another."""
        anew = self._breaker.state is State.OPEN
        if anew and not self._renewed():
            return False
        try:
            name = verify(self._cloud, self._settings, self._artifact, timeout)
        except grpc.RpcError as error:
            self.lose(f"{error.code().name}: {error.details()}")
            if anew:
                self._disconnect()  # else it would go on knocking
            return False
        except ValueError:  # of a channel that ``stop`` has closed
            return False
        self._line.settle(lambda: has_streams(self._cloud, timeout))
        self.route = Route(self._line, name)
        if self._breaker.state is State.OPEN:
            self._forecast.forget()
            self._breaker.seen()
        return True

    def _renewed(self) -> bool:
        """A connection that hangs may go on hanging, for as long as TCP waits before it sends again.

        A new one reads its certificates anew, and is not made of files that cannot be used at the moment.
        """
        self._disconnect()
        try:
            self._connect()
        except NodeError as error:
            self.lose(str(error))
            return False
        return True

    def _connect(self) -> None:
        channel = open_channel(self._settings)
        # all that is made of a channel before anybody can close it: gRPC's stubs crash on one that is closed
        self._line, self._cloud = Line(channel), GRPCInferenceServiceStub(channel)
        self._channel = channel

    def _disconnect(self) -> None:
        self._line.close()
        self._channel.close()
