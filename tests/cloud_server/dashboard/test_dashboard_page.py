"""The page in a real Chromium: what a person sees, and what hostile devices do not get."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from msgspec import structs
from playwright.sync_api import Browser, Error, Page, expect

from cloud_server.config import Dashboard
from cloud_server.dashboard.serving import serve
from cloud_server.fleet.devices import Devices, Key
from cloud_server.fleet.history import History
from protos.status import Gate, Model, Versions
from tests.cloud_server.dashboard.browser import SHOWN, TELEPHONE, Window, findings, window
from tests.cloud_server.dashboard.conftest import Shown
from tests.cloud_server.dashboard.simulated import MadeUp, simulate

HOSTILE = (
    "<img src=x onerror=hacked=1>",
    '"><script>hacked=1</script>',
    "javascript:hacked=1",
    "constructor",
    "__proto__",
    "{{constructor.constructor('hacked=1')()}}",
    "\u202egnp.exe \u0645\u0631\u062d\u0628\u0627 \U0001f980" + "w" * 60,
)


def column(page: Page, number: int) -> list[str]:
    return page.locator(f".rows tbody tr td:nth-child({number})").all_inner_texts()


def card(page: Page, name: str) -> str:
    return page.get_by_role("region", name=name, exact=True).inner_text()


def test_the_first_screen_answers_the_first_questions(seen: Window, shown: Shown) -> None:
    page = seen.open(shown.url)
    expect(page).to_have_title("Fleet · Tidegate")
    assert re.search(r"Edge alone\n.*Hybrid\n.*Cloud alone", card(page, "Latency"), re.DOTALL)
    assert re.search(r"\d+\s*%\s+fewer", card(page, "Bytes"))
    assert "Cloud was too late" in card(page, "Offload")
    assert re.search(r"2\spoints.*5\s%", card(page, "Agreement"), re.DOTALL)
    assert re.search(r"Certificate valid on \d+ of \d+ devices", card(page, "Agreement"))
    assert "in the last hour" in card(page, "Answers")
    assert re.search(r"Oldest\s+\d+\smin", card(page, "Outbox"))
    assert len(column(page, 1)) == 25
    assert page.locator("canvas").count() == 6
    assert seen.complaints == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("where", ["", "#/device/{site}/{node}", "#/device/nobody/knows"])
def test_axe_finds_nothing_serious(browser: Browser, shown: Shown, where: str, *, dark: bool) -> None:
    node = next(node.key for node in shown.simulation.nodes if node.trouble == "drift")
    with window(browser, dark=dark) as seen:
        page = seen.open(shown.url + where.format(site=node.site, node=node.node))
        assert findings(page) == []


def test_axe_would_find_something(seen: Window, shown: Shown) -> None:
    page = seen.open(shown.url)
    page.evaluate("document.body.append(document.createElement('img'))")
    assert any(line.startswith("image-alt") for line in findings(page))


def test_a_telephone_need_not_scroll_sideways(browser: Browser, shown: Shown) -> None:
    with window(browser, TELEPHONE) as seen:
        page = seen.open(shown.url)
        width = "document.documentElement.scrollWidth"
        assert page.evaluate(width) == TELEPHONE[0]
        page.get_by_role("link", name="cam-003").click()
        page.wait_for_selector(SHOWN)
        assert page.evaluate(width) == TELEPHONE[0]
        assert findings(page) == []


def test_a_device_opens_by_keyboard_and_the_way_back_leads_back(seen: Window, shown: Shown) -> None:
    page = seen.open(shown.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the figures")).to_be_focused()
    page.get_by_role("searchbox").focus()
    page.keyboard.type("cam-053")
    expect(page.locator(".rows tbody tr")).to_have_count(1)
    while not page.evaluate("document.activeElement.closest('.rows tbody')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="cam-053")).to_be_visible()
    expect(page.get_by_role("list", name="Attention")).to_contain_text("no longer what was certified")
    expect(page.locator("main")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", name="Fleet", exact=True)).to_be_visible()
    assert seen.complaints == []


def test_the_table_is_searched_filtered_ordered_and_paged(seen: Window, shown: Shown) -> None:
    page = seen.open(shown.url)
    page.get_by_role("button", name="Device").click()
    expect(page.get_by_role("columnheader", name="Device")).to_have_attribute("aria-sort", "ascending")
    expect(page.locator(".rows tbody tr").first).to_contain_text("depot-2/")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("status").filter(has_text="page 2 of 3")).to_be_visible()
    page.get_by_text("Silent", exact=False).first.click()
    page.get_by_label("Silent").check(force=True)
    expect(page.locator(".rows tbody tr")).to_have_count(1)
    page.get_by_label("All 60").check(force=True)
    page.get_by_role("searchbox").fill("nothing like this")
    expect(page.get_by_text("No device matches")).to_be_visible()


def test_another_range_is_asked_for_and_remembered(seen: Window, shown: Shown) -> None:
    page = seen.open(shown.url)
    with page.expect_request(re.compile("range=900")):
        page.get_by_label("15 min").check(force=True)
    expect(page.get_by_text("in the last 15 minutes")).to_be_visible()
    page.reload()
    expect(page.get_by_label("15 min")).to_be_checked()


def test_the_colours_follow_the_system_until_somebody_chooses(browser: Browser, shown: Shown) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with window(browser, dark=True) as seen:
        page = seen.open(shown.url)
        night = page.evaluate(ground)
        page.get_by_role("button", name="Dark colours").click()
        day = page.evaluate(ground)
        assert day != night
        page.reload()
        page.wait_for_selector(SHOWN)
        assert page.evaluate(ground) == day
        page.get_by_role("button", name="Dark colours").click()
        assert page.evaluate(ground) == night
        assert seen.complaints == []


def test_a_pause_asks_for_nothing(seen: Window, shown: Shown) -> None:
    seen.page.clock.install()
    page = seen.open(shown.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text(re.compile(r"Paused at \d\d:\d\d:\d\d"))).to_be_visible()
    asked.clear()
    page.clock.run_for(30_000)
    assert asked == []
    with page.expect_request(re.compile("overview")):
        page.get_by_role("button", name="Resume").click()
    with page.expect_request(re.compile("overview")):
        page.clock.run_for(6_000)


def test_what_is_new_is_shown_without_a_reload(browser: Browser) -> None:
    simulation = simulate(3, 120)
    with serve(Dashboard(port=0), simulation.fleet) as url, window(browser) as seen:
        seen.page.clock.install()
        page = seen.open(url)
        before = card(page, "Answers")
        simulation.tick(60, interval=60)
        page.clock.run_for(6_000)
        expect(page.get_by_role("region", name="Answers")).not_to_have_text(before)
        assert seen.complaints == []


def test_a_server_that_goes_and_comes_back_is_said(browser: Browser) -> None:
    simulation = simulate(3, 120)
    with window(browser) as seen:
        with serve(Dashboard(port=0), simulation.fleet) as url:
            page = seen.open(url)
        expect(page.get_by_text("The server does not answer. What you see is from")).to_be_visible(
            timeout=20_000
        )
        expect(page.locator("#pulse")).to_have_text("Disconnected")
        assert findings(page) == []
        with serve(Dashboard(port=int(url.rstrip("/").rpartition(":")[2])), simulation.fleet):
            expect(page.locator("#pulse")).to_have_text("Live", timeout=20_000)
            expect(page.locator("#notice")).to_be_hidden()


def test_a_slow_server_makes_the_page_say_how_old_it_is(seen: Window, shown: Shown) -> None:
    seen.page.clock.install()
    page = seen.open(shown.url)
    seen.silence()
    page.clock.run_for(12_000)
    expect(page.get_by_text("What you see is old")).to_be_visible()
    expect(page.locator("#pulse")).to_have_text(re.compile(r"\d+ s old"))


def test_a_lost_broker_is_said(browser: Browser, shown: Shown) -> None:
    deaf = replace(shown.simulation.fleet, hearing=lambda: False)
    with serve(Dashboard(port=0), deaf) as url, window(browser) as seen:
        page = seen.open(url)
        expect(page.locator("#notice")).to_contain_text("no connection to the broker 127.0.0.1:1883")
        assert findings(page) == []


def test_while_the_first_figures_come_nothing_is_claimed(seen: Window, shown: Shown) -> None:
    seen.silence()
    seen.page.goto(shown.url)
    expect(seen.page.locator("#pulse")).to_have_text("Loading")
    assert seen.page.locator("main .number").all_inner_texts() == ["\N{EN DASH}"] * 11


def test_an_empty_fleet_is_told_how_to_begin(browser: Browser) -> None:
    nobody = MadeUp(Devices(10, 100), History(), broker="mqtt.example:8883")
    with serve(Dashboard(port=0), nobody) as url, window(browser) as seen:
        page = seen.open(url)
        expect(page.get_by_role("heading", name="No device has spoken yet")).to_be_visible()
        expect(page.get_by_label("Settings of a node")).to_contain_text('host = "mqtt.example"\nport = 8883')
        assert findings(page) == []
        assert seen.complaints == []


@contextmanager
def hostile(texts: Sequence[str]) -> Iterator[str]:
    """A fleet of which every device says these wherever it may say anything."""
    simulation = simulate(len(texts), 0)
    for node, text in zip(simulation.nodes, texts, strict=True):
        node.key, node.ground = Key(text, text), text[:100]
        birth = structs.replace(
            node.birth(),
            model=Model(name=text, version=text, precision=text, sha256=text),
            versions=Versions(tidegate=text, python=text),
            gate=Gate(policy=text),
        )
        simulation.fleet.devices.say(node.key, birth)
    for _ in range(8):
        simulation.tick(15, interval=15)
    with serve(Dashboard(port=0), simulation.fleet) as url:
        yield url


def test_whatever_devices_say_is_text(browser: Browser) -> None:
    with hostile(HOSTILE) as url, window(browser) as seen:
        page = seen.open(url)
        for text in HOSTILE:
            page.get_by_role("link", name=f"{text}/{text}", exact=True).click()
            expect(page.get_by_role("heading", name=text, exact=True)).to_be_visible()
            expect(page.locator("dd", has_text=text).first).to_be_visible()
            page.go_back()
            page.wait_for_selector(".rows tbody tr")
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0
        assert seen.complaints == []


def test_the_same_names_would_have_done_harm_as_markup(seen: Window) -> None:
    seen.page.set_content("<div></div>")
    seen.page.evaluate("text => document.querySelector('div').innerHTML = text", HOSTILE[0])
    seen.page.wait_for_function("window.hacked === 1")


def test_markup_is_refused_by_the_browser_itself(seen: Window, shown: Shown) -> None:
    page = seen.open(shown.url)
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<p>'")
