"""A real Chromium that looks at the page."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

from tests.services import require

DESK = (1440, 900)
TELEPHONE = (390, 844)
SHOWN = "main:not([aria-busy])"
"""There once the first figures are."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, for as long as inside. As root it has no sandbox of its own."""
    program = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """A page under our eyes: what it complains of is kept."""

    def __init__(
        self, browser: Browser, size: tuple[int, int] = DESK, *, dark: bool = False, scale: float = 1
    ) -> None:
        width, height = size
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=scale,
            reduced_motion="reduce",
        )
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self._held: list[Route] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, url: str) -> Page:
        """Go there, and wait for the first figures."""
        self.page.goto(url)
        self.page.wait_for_selector(SHOWN)
        return self.page

    def silence(self) -> None:
        """From now on the server gives no answer."""
        self.page.route("**/api/**", self._hold)

    def close(self) -> None:
        """What was held back is over, too."""
        for route in self._held:
            route.abort()
        self.context.close()

    def _hold(self, route: Route) -> None:
        self._held.append(route)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@contextmanager
def window(
    browser: Browser, size: tuple[int, int] = DESK, *, dark: bool = False, scale: float = 1
) -> Iterator[Window]:
    """A window that is closed afterwards."""
    opened = Window(browser, size, dark=dark, scale=scale)
    try:
        yield opened
    finally:
        opened.close()


def findings(page: Page) -> list[str]:
    """What axe-core holds to be serious or critical, a line each."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
    found: dict[str, Any] = page.evaluate("axe.run()")
    return [
        f"{each['id']}: {each['help']}: {node['html']}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]
