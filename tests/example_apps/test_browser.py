"""Each example in a real browser, as its customer uses it: in light and dark, by mouse and by keyboard, on a phone."""

from __future__ import annotations

import typing

import pytest

from tests.broker_page.axe import axe_script, serious_faults
from tests.broker_page.chromium import Chromium, provided
from tests.example_apps.sites import Consumer, Site

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
SIZES = pytest.mark.parametrize("size", [(1280, 900), (390, 844), (320, 640)], ids=["desktop", "phone", "small phone"])
NEWEST = "document.querySelector('#orders li')"


@pytest.fixture(scope="module")
def one_browser(request: pytest.FixtureRequest) -> typing.Iterator[Chromium]:
    yield from provided(request)


@pytest.fixture
def browser(one_browser: Chromium, site: Site) -> typing.Iterator[Chromium]:
    """The order form is open. At the end, the console has said nothing, and no other site was asked."""
    one_browser.load(lambda: one_browser.open("about:blank"))
    one_browser.requests.clear()
    one_browser.problems.clear()
    one_browser.show(1280, 900)
    one_browser.load(lambda: one_browser.open(site.url))
    yield one_browser
    assert one_browser.problems == []
    assert {url for url in one_browser.requests if not url.startswith(site.url)} <= {"about:blank"}


def order(browser: Chromium, customer: str = "Ada Lovelace") -> None:
    """Fill in the form, and order by a click."""
    browser.click("[name=customer]")
    browser.type(customer)
    browser.load(lambda: browser.click("form.card button"))


def text(browser: Chromium, selector: str) -> str:
    return " ".join(str(browser.run(f"document.querySelector({selector!r}).textContent")).split())


def test_an_order_is_placed_and_seen_handled_without_loading_the_page_again(browser, site, broker):
    order(browser)
    assert text(browser, "[role=status] strong") == "Thank you, Ada Lovelace!"
    assert "confirmed" in text(browser, "#orders li")
    assert "not handled yet" in text(browser, "#orders li")
    browser.click("[name=customer]")
    browser.type("Grace")
    with Consumer(site) as consumer:
        browser.wait(f"{NEWEST}.querySelector('time') && {NEWEST}.textContent.includes('in the books')")
        consumer.stop()
    assert browser.run("document.querySelector('[name=customer]').value") == "Grace"


def test_an_order_is_placed_by_keyboard(browser, broker):
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.name") == "customer"
    browser.type("Ada")
    reached = []
    for _ in range(3):
        browser.press("Tab", 9)
        reached.append(browser.run("document.activeElement.name || document.activeElement.tagName"))
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached == ["item", "quantity", "BUTTON"]
    browser.load(lambda: browser.press("Enter", 13, "\r"))
    assert text(browser, "[role=status] strong") == "Thank you, Ada!"
    assert len(broker.messages("/queue/orders")) == 1


def test_markup_is_shown_and_not_run(browser, broker):
    evil = "<img src=x onerror=\"document.title='evil'\">"
    order(browser, evil)
    assert text(browser, "#orders li strong") == evil
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.title") == "Corner Coffee: orders"


def test_an_order_that_was_refused_is_announced_by_a_click(browser, broker):
    broker.faults.error("SEND", "no coffee", close=False)
    order(browser)
    assert "no coffee" in text(browser, "[role=alert] p")
    assert "rejected" in text(browser, "#orders li")
    browser.load(lambda: browser.click("#orders li button"))
    assert "Thank you" in text(browser, "[role=status]")
    assert "confirmed" in text(browser, "#orders li")


@SCHEMES
@SIZES
def test_nothing_is_wider_than_the_window_and_the_page_follows_the_color_scheme(browser, broker, scheme, size):
    browser.show(*size, scheme, mobile=size[0] < 500)
    order(browser, "A long name " * 6)
    broker.faults.error("SEND", "a-long-word" * 30, close=False)
    order(browser, "x" * 80)
    assert browser.run("document.documentElement.scrollWidth") <= size[0]
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) == (scheme == "dark")


@SCHEMES
def test_axe_finds_no_serious_fault(browser, site, broker, scheme):
    script = axe_script()
    browser.show(1280, 900, scheme)
    assert serious_faults(browser, script) == []
    order(browser)
    with Consumer(site) as consumer:
        browser.wait(f"{NEWEST}.querySelector('time') && {NEWEST}.textContent.includes('in the books')")
        consumer.stop()
    assert serious_faults(browser, script) == []
    broker.faults.error("SEND", "no coffee", close=False)
    order(browser)
    assert "rejected" in text(browser, "#orders li")
    assert serious_faults(browser, script) == []
