"""What the page shows, of the device table and the history: chosen, joined, and small enough to poll."""

import time
from collections.abc import Callable
from math import inf, nan
from threading import Lock
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from cloud_server.dashboard import alerts
from cloud_server.dashboard.alerts import Alert, Usual
from cloud_server.dashboard.charts import Charts, charts
from cloud_server.dashboard.promise import Promise, promise
from cloud_server.fleet.devices import Device, Devices, Key, State
from cloud_server.fleet.history import History
from cloud_server.fleet.window import Recent

_FRESH = 1.0
"""Seconds for which rows are good: at 1,000 devices they take 40 ms to make."""
PAGE = 25
"""Rows of one page of the table."""
_NOTHING = Recent(samples=nan, offload=nan, p50=nan, p99=nan)

Order = Literal["attention", "device", "seen", "model", "samples", "offload", "p99", "outbox"]
Shown = Literal["all", "attention", "online", "silent", "offline"]


class Fleet(Protocol):
    """Where the page's figures come from."""

    @property
    def devices(self) -> Devices:
        """Which devices there are, and how they are now."""

    @property
    def history(self) -> History:
        """What they did."""

    @property
    def hearing(self) -> Callable[[], bool]:
        """Whether there is a connection over which they can be heard."""

    @property
    def broker(self) -> str:
        """``host:port`` of that connection."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser may ask for."""

    range: Annotated[float, Meta(ge=60, le=86400)] = 3600.0
    """Seconds back from now."""
    site: str = ""
    node: str = ""
    """Which device."""
    search: Annotated[str, Meta(max_length=200)] = ""
    show: Shown = "all"
    order: Order = "attention"
    down: bool = True
    """The largest first."""
    page: Annotated[int, Meta(ge=0)] = 0


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet: figures of a stretch of time, and how its devices are now."""

    now: float
    """Seconds since 1970, as all times here."""
    hearing: bool
    broker: str
    states: dict[State, int]
    charts: Charts
    promise: Promise


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the table: what it is now, and what it did in the last five minutes."""

    site: str
    node: str
    state: State
    last_seen: float
    model: str
    precision: str
    samples: float
    offload: float
    p99: float
    queued: float
    queued_age: float
    ground: str
    alerts: tuple[Alert, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the table."""

    now: float
    total: int
    attention: int
    """Devices with something that somebody should look at."""
    matching: int
    page: int
    pages: int
    rows: list[Row]


class One(msgspec.Struct, frozen=True, kw_only=True):
    """One device."""

    now: float
    hearing: bool
    broker: str
    device: Device
    alerts: tuple[Alert, ...]
    charts: Charts
    promise: Promise


class View:
    """Answers what a browser asks. Any thread may ask."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._lock = fleet, Lock()
        self._made, self._rows = -inf, list[Row]()

    def overview(self, query: Query) -> Overview:
        """The whole fleet over so many seconds."""
        fleet = self._fleet
        figures = [device.figures for device in fleet.devices.table() if device.figures]
        return Overview(
            now=time.time(),
            hearing=fleet.hearing(),
            broker=fleet.broker,
            states=fleet.devices.counts(),
            charts=charts(fleet.history.window(None, query.range), figures),
            promise=promise(figures),
        )

    def devices(self, query: Query) -> Table:
        """The page of the table that was asked for, or the last one if there are not so many."""
        rows = self._fresh()
        wanted = [row for row in rows if _shown(row, query.show) and _matches(row, query.search)]
        wanted = _ordered(wanted, query)
        pages = max(1, -(-len(wanted) // PAGE))
        page = min(query.page, pages - 1)
        return Table(
            now=time.time(),
            total=len(rows),
            attention=sum(bool(row.alerts) for row in rows),
            matching=len(wanted),
            page=page,
            pages=pages,
            rows=wanted[page * PAGE : (page + 1) * PAGE],
        )

    def device(self, query: Query) -> One | None:
        """One device over so many seconds; None if nobody knows it."""
        fleet, key = self._fleet, Key(query.site, query.node)
        devices = fleet.devices.table()
        device = next((it for it in devices if (it.site, it.node) == key), None)
        if device is None:
            return None
        figures = [device.figures] if device.figures else []
        return One(
            now=time.time(),
            hearing=fleet.hearing(),
            broker=fleet.broker,
            device=device,
            alerts=alerts.of(device, Usual(devices)),
            charts=charts(fleet.history.window(key, query.range), figures),
            promise=promise(figures),
        )

    def _fresh(self) -> list[Row]:
        """Every row; who asks at about the same time gets the same ones."""
        with self._lock:
            if time.monotonic() >= self._made + _FRESH:
                self._rows, self._made = self._rows_now(), time.monotonic()
            return self._rows

    def _rows_now(self) -> list[Row]:
        devices, recent = self._fleet.devices.table(), self._fleet.history.recent()
        usual = Usual(devices)
        return [_row(it, recent.get(Key(it.site, it.node), _NOTHING), alerts.of(it, usual)) for it in devices]


def _row(device: Device, recent: Recent, found: tuple[Alert, ...]) -> Row:
    figures, model = device.figures, device.model
    return Row(
        site=device.site,
        node=device.node,
        state=device.state,
        last_seen=device.last_seen,
        model=f"{model.name} {model.version}".strip() if model else "",
        precision=model.precision if model else "",
        samples=recent.samples,
        offload=recent.offload,
        p99=recent.p99,
        queued=figures.queued_results if figures else nan,
        queued_age=figures.queued_age if figures else nan,
        ground=figures.ground if figures else "",
        alerts=found,
    )


def _shown(row: Row, show: Shown) -> bool:
    return show == "all" or (bool(row.alerts) if show == "attention" else row.state == show)


def _matches(row: Row, search: str) -> bool:
    """Every word of the search is in what the row says."""
    text = f"{row.site}/{row.node} {row.model} {row.ground} {' '.join(it.title for it in row.alerts)}"
    return all(word in text.casefold() for word in search.casefold().split())


def _urgency(row: Row) -> float:
    return sum(100 if alert.severity == "serious" else 1 for alert in row.alerts)


_ORDERS: dict[Order, Callable[[Row], Any]] = {
    "attention": _urgency,
    "device": lambda row: (row.site, row.node),
    "seen": lambda row: row.last_seen,
    "model": lambda row: (row.model, row.precision),
    "samples": lambda row: row.samples,
    "offload": lambda row: row.offload,
    "p99": lambda row: row.p99,
    "outbox": lambda row: row.queued,
}


def _ordered(rows: list[Row], query: Query) -> list[Row]:
    """Those of which the value is not known (NaN, which is not itself) come last either way."""
    value = _ORDERS[query.order]
    rows.sort(key=lambda row: (row.site, row.node))
    rows.sort(key=lambda row: 0 if value(row) != value(row) else value(row), reverse=query.down)
    return sorted(rows, key=lambda row: bool(value(row) != value(row)))
