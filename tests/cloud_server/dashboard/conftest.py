"""A browser for all tests, and a small fleet for those that leave it alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, expect

from cloud_server.config import Dashboard
from cloud_server.dashboard.serving import serve
from tests.cloud_server.dashboard.browser import Window, chromium, window
from tests.cloud_server.dashboard.simulated import Simulation, simulate

expect.set_options(timeout=20_000)  # milliseconds; by default five seconds, which a busy machine may need


@dataclass(frozen=True)
class Shown:
    """A simulated fleet, and where it is shown."""

    simulation: Simulation
    url: str


@pytest.fixture(scope="session")
def shown() -> Iterator[Shown]:
    """Sixty devices that have run for twenty minutes, some of them in trouble."""
    simulation = simulate(60, 1200)
    with serve(Dashboard(port=0), simulation.fleet) as url:
        yield Shown(simulation, url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """As long as it is open, this thread has Playwright's event loop, and no other can run in it."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def seen(browser: Browser) -> Iterator[Window]:
    """A window of the size of a desk."""
    with window(browser) as seen:
        yield seen
