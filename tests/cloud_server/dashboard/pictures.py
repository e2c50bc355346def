"""Pictures of every state of the page: ``python -m tests.cloud_server.dashboard.pictures docs/dashboard``.

With ``--of URL`` only the first screen of a fleet that is served there: the README's is of the demo's.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from cloud_server.config import Dashboard
from cloud_server.dashboard.serving import serve
from cloud_server.dashboard.view import Fleet
from cloud_server.fleet.devices import Devices
from cloud_server.fleet.history import History
from tests.cloud_server.dashboard.browser import DESK, TELEPHONE, Window, chromium, window
from tests.cloud_server.dashboard.simulated import MadeUp, simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--of", metavar="URL")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    with chromium() as browser:
        if given.of:
            with window(browser) as seen:
                _save(seen.open(given.of), given.folder / "demo.png")
        else:
            _states(browser, given.folder)


def _states(browser: Browser, folder: Path) -> None:
    simulation = simulate(1000, 2400, interval=60)
    with serve(Dashboard(port=0), simulation.fleet) as url:
        node = next(node.key for node in simulation.nodes if node.trouble == "drift")
        device = f"{url}#/device/{node.site}/{node.node}"
        for name, size, dark, where in (
            ("light", DESK, False, url),
            ("dark", DESK, True, url),
            ("device", (1440, 1000), False, device),
            ("device-dark", (1440, 1000), True, device),
            ("telephone", TELEPHONE, False, url),
            ("telephone-dark", TELEPHONE, True, url),
            ("telephone-device", TELEPHONE, False, device),
        ):
            with window(browser, size, dark=dark) as seen:
                _save(seen.open(where), folder / f"{name}.png")
        with window(browser, (1440, 1180)) as seen:
            _save(_searched(seen.open(url)), folder / "search.png")
    _troubles(browser, folder, replace(simulation.fleet, hearing=lambda: False))


def _troubles(browser: Browser, folder: Path, deaf: MadeUp) -> None:
    with _shown(browser, MadeUp(Devices(10, 10), History())) as (seen, url):
        _save(seen.open(url), folder / "empty.png")
    with _shown(browser, simulate(3, 0).fleet) as (seen, url):
        _save(seen.open(url), folder / "beginning.png")
    with _shown(browser, deaf) as (seen, url):
        _save(seen.open(url), folder / "broker-lost.png")
        _save(seen.open(f"{url}#/device/nobody/knows"), folder / "unknown.png")
    with _shown(browser, deaf) as (seen, url):
        seen.silence()
        seen.page.goto(url)
        _save(seen.page, folder / "loading.png")
    calm = replace(deaf, hearing=lambda: True)
    with _shown(browser, calm) as (seen, url):
        seen.page.clock.install()
        page = seen.open(url)
        seen.silence()
        page.clock.run_for(12_000)
        _save(page, folder / "stale.png")
    with _shown(browser, calm) as (seen, url):
        seen.page.clock.install()
        page = seen.open(url)
        page.get_by_role("button", name="Pause").click()
        _save(page, folder / "paused.png")
        page.get_by_role("button", name="Resume").click()
        page.route("**/api/**", lambda route: route.abort())
        page.clock.run_for(6_000)
        page.wait_for_selector("main[data-state=disconnected]")
        _save(page, folder / "disconnected.png")


@contextmanager
def _shown(browser: Browser, fleet: Fleet) -> Iterator[tuple[Window, str]]:
    with serve(Dashboard(port=0), fleet) as url, window(browser) as seen:
        yield seen, url


def _searched(page: Page) -> Page:
    page.get_by_role("searchbox").fill("results lost")
    expect(page.locator(".rows tbody tr")).to_have_count(14)
    page.locator(".devices").scroll_into_view_if_needed()
    return page


def _save(page: Page, path: Path) -> None:
    """As it is now, in 256 colours, none of them off by more than a person sees; a third of the size."""
    page.evaluate("document.fonts.ready")
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    few = picture.quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
