"""The results sink: what nodes publish goes into the store, and the broker hears of it only then.

One thread does it all by turns: read what has arrived, commit it in one transaction, acknowledge
it, tell the nodes. While a transaction runs, what arrives waits in the socket for the next one.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from paho.mqtt.client import MQTTMessage
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from cloud_server.backoff import BackOff
from cloud_server.config import Fleet
from cloud_server.fleet.arrival import Stream
from cloud_server.fleet.broker import LINGER, Connection, Login
from cloud_server.fleet.intake import Intake, Received
from cloud_server.fleet.listener import Listener
from cloud_server.fleet.store import PRUNED, Store, Written
from cloud_server.metrics import Meter
from protos import ack
from protos.ack import Ack

QUIET = 0.001
"""Seconds without another message after which what has arrived is stored."""
TELL = 0.25
"""Seconds between acks: one then stands for all that was stored meanwhile."""
_TICK = 0.1
_TIDY = 60.0
"""Seconds between looks at the whole store."""
_SOON = 0.5
"""Seconds to one when there is something new to see."""
_GRACE = 15.0
"""Seconds that a transaction under way has when the server stops."""
_DAY = 86400.0

_UNFIT = (DataError, IntegrityError, ArithmeticError, ValueError)
"""What a database raises when a value is at fault, not itself."""

log = logging.getLogger(__name__)


class Sink(Listener):
    """Stores and confirms while inside. It outlives the loss of its broker and of its database.

    On leaving it stores what has arrived; what the database will not take then is still with broker or nodes.
    """

    grace = _GRACE

    def __init__(self, settings: Fleet, store: Store, meter: Meter) -> None:
        login = Login(settings)
        super().__init__(login, login.results, "sink", meter.broker_connected)
        self._settings, self._store, self._meter = settings, store, meter
        self._intake = Intake(settings.mqtt.root, meter)
        self._prefix = f"{settings.mqtt.root}/"
        self._waiting: list[Received] = []
        self._first = 0.0
        """When the oldest of those that wait arrived."""
        self._heard: set[Stream] = set()
        self._tell_at = self._tidy_at = self._store_at = 0.0
        self._back_off = BackOff()

    def _patience(self) -> float:
        return QUIET if self._waiting else _TICK

    def _confused(self) -> None:
        self._waiting.clear()  # the broker brings it again

    def _leave(self) -> None:
        self._tell_at = 0.0
        self._commit(self._connection)
        self._tell(self._connection)

    def _lost(self) -> None:
        """Store what a lost connection brought: a broker that was killed may not bring it again."""
        while self._waiting and not self._stop.is_set():
            self._commit()
            if self._waiting:
                self._stop.wait(max(0.0, self._store_at - time.monotonic()))

    def _take(self, message: MQTTMessage) -> None:
        """As the connection brings it."""
        if not self._waiting:
            self._first = time.monotonic()
        self._waiting.append(self._intake.read(message))

    def _work(self, *, quiet: bool) -> None:
        """Store, tell and tidy."""
        now = time.monotonic()
        if now < self._store_at:
            return
        if self._waiting and (quiet or now >= self._first + LINGER):
            self._commit(self._connection)
        if self._heard and now >= self._tell_at:
            self._tell(self._connection)
        if now >= self._tidy_at:
            self._tidy()

    def _commit(self, connection: Connection | None = None) -> None:
        """Store all that waits, then acknowledge it; if the database has trouble it goes on waiting."""
        with self._trouble():
            self._store.prepare()
            for written in self._write([it for it in self._waiting if it.arrival]):
                self._count(written)
            for received in self._waiting:
                self._finish(received, connection)
            self._waiting.clear()

    def _write(self, batch: list[Received]) -> list[Written]:
        """Store it; if a value in it will not be stored, all but that."""
        found = [it.arrival for it in batch if it.arrival]
        try:
            with self._meter.transactions.time():
                return [self._store.write(found)] if found else []
        except _UNFIT as error:
            if len(batch) > 1:
                return [written for it in batch for written in self._write([it])]
            return [self._store.write([self._intake.unstorable(batch[0].message, found[0], error)])]

    def _finish(self, received: Received, connection: Connection | None) -> None:
        """Whether it was stored or refused, the broker need not keep it."""
        if received.arrival and received.arrival.captured_at:
            self._meter.lag.observe(max(0.0, time.time() - received.arrival.captured_at))
        if connection:
            connection.acknowledge(received.message)

    def _count(self, written: Written) -> None:
        self._heard.update(written.heard)
        self._meter.stored.inc(written.stored)
        self._meter.duplicates.inc(written.duplicates)
        if written.changed:
            self._tidy_at = min(self._tidy_at, time.monotonic() + _SOON)

    def _tell(self, connection: Connection) -> None:
        """Say how far each stream has come, as it is committed now: another sink may know more than we."""
        with self._trouble():
            for stream, upto in self._store.committed(sorted(self._heard)):
                topic = f"{self._prefix}{stream.site}/{stream.node}/ack"
                connection.publish(topic, ack.encode(Ack(stream=stream.number, seq=upto)))
            self._heard.clear()
            self._tell_at = time.monotonic() + TELL

    def _tidy(self) -> None:
        """Delete what is old, a little at a time, and count what is there."""
        with self._trouble():
            self._store.prepare()
            keep = self._settings.keep
            pruned = self._store.prune(time.time() - keep * _DAY) if keep else 0
            survey = self._store.survey()
            self._meter.nodes.set(survey.nodes)
            self._meter.missing.set(survey.missing)
            self._tidy_at = time.monotonic() + (_TICK if pruned >= PRUNED else _TIDY)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """What the database cannot do now is tried again later, and said once."""
        try:
            yield
        except SQLAlchemyError as error:
            if not self._back_off.attempts:
                log.warning("database %s: %s", self._store.name, _first_line(error))
            self._meter.store_up.set(0)
            self._store_at = time.monotonic() + self._back_off.failed()
        else:
            if self._back_off.attempts:
                log.info("database %s: is back", self._store.name)
            self._meter.store_up.set(1)
            self._back_off.succeeded()
            self._store_at = 0.0


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
