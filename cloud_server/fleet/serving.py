"""The fleet's part of a server: its store, and the sink that fills it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy.exc import SQLAlchemyError

from cloud_server.config import Fleet
from cloud_server.errors import DatabaseError
from cloud_server.fleet.broker import Login
from cloud_server.fleet.sink import Sink
from cloud_server.fleet.store import Gap, Store
from cloud_server.metrics import Meter


@contextmanager
def serve(settings: Fleet, meter: Meter) -> Iterator[str]:
    """Store results while inside; gives a line that says which and where."""
    with closing(Store.open(settings)) as store, Sink(settings, store, meter):
        yield _line(settings, store)


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
