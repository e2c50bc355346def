"""What the page costs at 1,000 devices: ``python -m tests.cloud_server.dashboard.measure``, as Markdown."""

import os
import statistics
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, NamedTuple

from playwright.sync_api import Browser, CDPSession

from cloud_server.config import Dashboard
from cloud_server.dashboard.serving import serve
from cloud_server.dashboard.view import Query, View
from tests.cloud_server.dashboard.browser import DESK, SHOWN, TELEPHONE, Window, chromium, findings, window
from tests.cloud_server.dashboard.simulated import Simulation, simulate

DEVICES = 1000
LOADS = 7
UPDATES = 12
EVERY = 5.0
"""Seconds between two updates, as in ``live.js``."""


class Cost(NamedTuple):
    """Of one kind of screen; milliseconds but for the last three."""

    paint: float
    figures: float
    script: float
    work: float
    """Script, style and layout together."""
    longest: float
    body: float
    """Bytes of an update, compressed."""
    heap: float
    complaints: int


def main() -> None:
    """Print the report."""
    simulation = simulate(DEVICES, 2400, interval=60)
    stop = Event()
    with serve(Dashboard(port=0), simulation.fleet) as url, chromium() as browser:
        living = Thread(target=_live, args=(simulation, stop))
        living.start()
        try:
            costs = {
                "desk, 1440 by 900": _cost(browser, url, DESK, slower=1),
                "telephone, 390 by 844, processor 4 times slower": _cost(browser, url, TELEPHONE, slower=4),
            }
            serious = _serious(browser, url)
        finally:
            stop.set()
            living.join()
        _print(costs, serious, _server(simulation))


def _live(simulation: Simulation, stop: Event) -> None:
    """The devices speak by turns, as real ones do."""
    while not stop.wait(EVERY):
        simulation.tick(EVERY, interval=60)


def _cost(browser: Browser, url: str, size: tuple[int, int], *, slower: int) -> Cost:
    loads = [_load(browser, url, size, slower) for _ in range(LOADS)]
    with window(browser, size) as seen:
        session = _session(seen, slower)
        page = seen.open(url)
        before, longest = _metrics(session), 0.0
        bodies = []
        for _ in range(UPDATES):
            start = _metrics(session)
            with page.expect_response(lambda answer: "devices" in answer.url) as answered:
                pass
            bodies.append(float(answered.value.headers["content-length"]))
            page.wait_for_timeout(500)
            longest = max(longest, _metrics(session)["TaskDuration"] - start["TaskDuration"])
        after = _metrics(session)
        overview = page.evaluate(_TRANSFERRED)
        return Cost(
            paint=statistics.median(paint for paint, _ in loads),
            figures=statistics.median(figures for _, figures in loads),
            script=1000 * (after["ScriptDuration"] - before["ScriptDuration"]) / UPDATES,
            work=1000 * sum(after[name] - before[name] for name in _WORK) / UPDATES,
            longest=1000 * longest,
            body=statistics.median(bodies) + overview,
            heap=after["JSHeapUsedSize"],
            complaints=len(seen.complaints),
        )


_WORK = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
_TRANSFERRED = """
performance.getEntriesByType('resource').filter(it => it.name.includes('overview')).at(-1).encodedBodySize
"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def _load(browser: Browser, url: str, size: tuple[int, int], slower: int) -> tuple[float, float]:
    """First paint, and first figures, in milliseconds from the click; a new profile each time."""
    with window(browser, size) as seen:
        _session(seen, slower)
        start = time.perf_counter()
        seen.page.goto(url, wait_until="commit")
        seen.page.wait_for_selector(SHOWN)
        figures = 1000 * (time.perf_counter() - start)
        seen.page.wait_for_timeout(200)
        return float(seen.page.evaluate(_PAINT)), figures


def _session(seen: Window, slower: int) -> CDPSession:
    session = seen.context.new_cdp_session(seen.page)
    session.send("Performance.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    return session


def _metrics(session: CDPSession) -> dict[str, float]:
    found: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    return {each["name"]: each["value"] for each in found}


def _serious(browser: Browser, url: str) -> int:
    """Findings of axe-core, serious or critical, in light and dark."""
    total = 0
    for dark in (False, True):
        with window(browser, dark=dark) as seen:
            total += len(findings(seen.open(url)))
    return total


def _server(simulation: Simulation) -> dict[str, float]:
    """Milliseconds of the server's time, by question."""
    view = View(simulation.fleet)
    return {
        "/api/overview": _timed(lambda: view.overview(Query())),
        "/api/devices": _timed(lambda: view.devices(Query())),
    }


def _timed(call: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)

    return statistics.median(once() for _ in range(21))


def _print(costs: dict[str, Cost], serious: int, server: dict[str, float]) -> None:
    print(f"| {DEVICES:,} devices | " + " | ".join(costs) + " |")
    print("| --- |" + " ---: |" * len(costs))
    rows: dict[str, Callable[[Cost], str]] = {
        f"first paint, ms (median of {LOADS})": lambda cost: f"{cost.paint:.0f}",
        "first figures, ms": lambda cost: f"{cost.figures:.0f}",
        f"script an update, ms (mean of {UPDATES})": lambda cost: f"{cost.script:.1f}",
        "script, style and layout an update, ms": lambda cost: f"{cost.work:.1f}",
        "all work of the dearest update, ms": lambda cost: f"{cost.longest:.0f}",
        "bytes an update, compressed": lambda cost: f"{cost.body:,.0f}",
        "JavaScript heap, MB": lambda cost: f"{cost.heap / 1e6:.1f}",
        "errors and warnings on the console": lambda cost: str(cost.complaints),
    }
    for name, read in rows.items():
        print(f"| {name} | " + " | ".join(read(cost) for cost in costs.values()) + " |")
    print(f"\nSerious or critical findings of axe-core, light and dark: {serious}.\n")
    print("Server, ms an answer: " + ", ".join(f"{name} {ms:.1f}" for name, ms in server.items()) + ".")
    print(f"\nOn {os.cpu_count()} cores that browser, server and the simulated fleet share.")


if __name__ == "__main__":
    main()
