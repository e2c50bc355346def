"""A sink that kills itself at a named point of its n-th transaction.

``python -m tests.cloud_server.fleet.dying KIND POINT N run --config FILE``
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event

from paho.mqtt.client import MQTTMessage
from sqlalchemy import Engine, event

from cloud_server import config
from cloud_server.fleet.arrival import Arrival
from cloud_server.fleet.broker import Connection
from cloud_server.fleet.sink import Sink
from cloud_server.fleet.store import Store, Written
from cloud_server.metrics import Meter
from tests.countdown import Countdown

POINTS = ("arrived", "inserted", "counted", "committing", "committed", "acknowledged", "telling", "told")


class DyingStore(Store):
    """Passes the points of a transaction."""

    countdown: Countdown

    def __init__(self, engine: Engine) -> None:
        event.listen(engine, "commit", lambda _: self.countdown.reach("committing"))
        event.listen(engine, "after_cursor_execute", self._executed)
        super().__init__(engine)

    def write(self, arrivals: Sequence[Arrival]) -> Written:
        self.countdown.reach("arrived")
        written = super().write(arrivals)
        self.countdown.reach("committed")
        return written

    def _executed(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        verb = statement.split(maxsplit=1)[0]
        self.countdown.reach({"INSERT": "inserted", "UPDATE": "counted"}.get(verb, ""))


class DyingSink(Sink):
    """Passes the points before and after a transaction."""

    countdown: Countdown

    def _take(self, message: MQTTMessage) -> None:
        super()._take(message)
        self.countdown.reach("taken")

    def _commit(self, connection: Connection | None = None) -> None:
        super()._commit(connection)
        self.countdown.reach("acknowledged")

    def _tell(self, connection: Connection) -> None:
        self.countdown.reach("telling")
        super()._tell(connection)
        self.countdown.reach("told")


class HastySink(DyingSink):
    """Tells the broker first. What it has told and not stored dies with it."""

    def _commit(self, connection: Connection | None = None) -> None:
        if connection:
            for received in self._waiting:
                connection.acknowledge(received.message)
        super()._commit(None)


KINDS = {"good": DyingSink, "hasty": HastySink}


def main() -> None:
    kind, point, count, _run, _config, path = sys.argv[1:]
    settings = config.load(Path(path)).fleet
    assert settings
    DyingStore.countdown = DyingSink.countdown = Countdown(point, int(count))
    with closing(DyingStore.open(settings)) as store, KINDS[kind](settings, store, Meter()):
        Event().wait()


if __name__ == "__main__":
    main()
