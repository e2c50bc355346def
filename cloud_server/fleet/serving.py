"""The fleet's part of a server: its store, and the sink that fills it."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from cloud_server.config import Fleet
from cloud_server.errors import DatabaseError
from cloud_server.fleet.bridge import Bridge
from cloud_server.fleet.broker import Login
from cloud_server.fleet.devices import Devices
from cloud_server.fleet.history import History
from cloud_server.fleet.sink import Sink
from cloud_server.fleet.store import Gap, Store
from cloud_server.listening import address
from cloud_server.metrics import Meter


class Serving(NamedTuple):
    """A fleet that is served."""

    line: str
    """Whose results go where."""
    devices: Devices
    history: History
    hearing: Callable[[], bool]
    """Whether devices can be heard now."""
    broker: str
    """``host:port`` of where they are heard."""


@contextmanager
def serve(settings: Fleet, meter: Meter) -> Iterator[Serving]:
    """Store results, and watch the devices, while inside."""
    with (
        closing(Store.open(settings)) as store,
        Sink(settings, store, meter),
        Bridge(settings, meter) as bridge,
    ):
        broker = address(settings.mqtt.host, settings.mqtt.port)
        yield Serving(_line(settings, store), bridge.devices, bridge.history, lambda: bridge.hearing, broker)


def check(settings: Fleet) -> str:
    """What ``serve`` would do; ``StartError`` if it could not, now."""
    login = Login(settings)
    with closing(Store.open(settings)) as store, _refused():
        store.prepare()
        return f"{_line(settings, store)}; subscribed to {login.topic}"


def gaps(settings: Fleet) -> list[Gap]:
    """Every known gap; ``DatabaseError`` if the database cannot say."""
    with closing(Store.open(settings)) as store, _refused():
        return store.gaps()


def _line(settings: Fleet, store: Store) -> str:
    return f"results from {settings.mqtt.host}:{settings.mqtt.port} into {store.name}"


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise DatabaseError(str(getattr(error, "orig", error)).partition("\n")[0]) from None
