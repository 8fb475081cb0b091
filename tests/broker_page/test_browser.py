"""The page in a real browser, as a developer uses it: by mouse and by keyboard, in light and dark, on a phone."""

from __future__ import annotations

import pickle
import typing

import pytest

from stomp_web import Publisher, Rejected
from stomp_web.broker.page import Page
from tests.broker.wire import Wire
from tests.broker_page.axe import axe_script, serious_faults
from tests.broker_page.chromium import Chromium, provided

LIST = "document.querySelector('#message-list')"


@pytest.fixture(scope="module")
def one_browser(request: pytest.FixtureRequest) -> typing.Iterator[Chromium]:
    yield from provided(request)


@pytest.fixture
def browser(one_browser: Chromium, page: Page) -> typing.Iterator[Chromium]:
    """The page is open and has the state of the broker. At the end, the console has said nothing."""
    one_browser.open("about:blank")
    one_browser.requests.clear()
    one_browser.problems.clear()
    one_browser.show(1280, 900)
    one_browser.open(page.url)
    one_browser.wait("document.querySelector('#live')?.textContent === 'Live'")
    yield one_browser
    assert one_browser.problems == []
    assert {url for url in one_browser.requests if not url.startswith((page.url, "about:"))} == set()


def notice(browser: Chromium, text: str) -> None:
    browser.wait(f"document.querySelector('#notice-text').textContent.includes({text!r})")


def test_a_message_appears_as_it_is_sent_and_opens_by_a_click(browser, broker):
    with Publisher(broker.url) as publisher:
        publisher.send("/queue/orders", {"id": 7}, {"x-shop": "Köln"})
    browser.wait(f"{LIST}.children.length === 1")
    browser.click("#message-list summary")
    browser.wait("document.querySelector('.detail pre')")
    assert browser.run("document.querySelector('.detail pre').textContent") == '{\n  "id": 7\n}'
    assert "x-shopKöln" in browser.run("document.querySelector('.detail dl').textContent")
    browser.wait("document.querySelector('#destination-rows').textContent.startsWith('/queue/orders110')")


def test_a_pickle_is_disassembled(browser, broker):
    broker.send("/queue/a", pickle.dumps({"a": 1}), {"content-type": "application/x-python-serialize"})
    browser.wait(f"{LIST}.children.length === 1")
    browser.click("#message-list summary")
    browser.wait("document.querySelector('.detail pre')?.textContent.includes('SETITEM')")


def test_markup_in_a_message_is_shown_and_not_run(browser, broker):
    evil = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script>"
    broker.send(f"/queue/{evil}", evil, {evil: evil, "content-type": "text/html"})
    with Wire(broker) as wire:
        wire.connect(login=evil)
        wire.subscribe(f"/topic/{evil}", evil)
        browser.wait("document.querySelectorAll('#client-list li li').length === 1")
    browser.wait(f"{LIST}.children.length === 1")
    browser.click("#message-list summary")
    browser.wait("document.querySelector('.detail pre')")
    assert browser.run("document.querySelector('.detail pre').textContent") == evil
    assert browser.run("document.querySelectorAll('img, main script').length") == 0
    assert browser.run("document.title") == "stomp-web development broker"


def test_it_searches_as_one_types_and_filters_by_destination(browser, broker):
    for number in range(5):
        broker.send(f"/queue/{number}", f"message {number}")
    browser.wait(f"{LIST}.children.length === 5")
    browser.click("#search-text")
    browser.type("message 3")
    browser.wait(f"{LIST}.children.length === 1 && {LIST}.textContent.includes('message 3')")
    broker.send("/queue/late", "other")
    broker.send("/queue/late", "late message 3")
    browser.wait(f"{LIST}.children.length === 2 && {LIST}.textContent.includes('late message 3')")
    browser.run("document.querySelector('#search-text').value = ''")
    browser.click("#destination-rows tr:nth-child(2) button")
    browser.wait(f"{LIST}.children.length === 1 && {LIST}.textContent.includes('message 1')")
    assert browser.run("document.querySelector('#send-destination').value") == "/queue/1"
    browser.click("#filter-off")
    browser.wait(f"{LIST}.children.length === 7")


def test_a_message_is_sent_by_hand_sent_again_and_edited(browser, broker):
    browser.run("document.querySelector('#send-headers').value = 'x-shop: a:b\\\\n'")
    browser.click("#send-form button")
    notice(browser, "Sent to /queue/example as ID:")
    frame = broker.wait_for("/queue/example")[0]
    assert (frame.body, frame.headers["x-shop"]) == (b'{"id": 7}', "a:b\n")
    assert frame.headers["content-type"] == "application/json"
    browser.wait(f"{LIST}.children.length === 1")
    browser.click("#message-list summary")
    browser.wait("document.querySelectorAll('.detail button').length === 4")
    browser.click(".detail button:nth-child(3)")
    notice(browser, "Sent again to /queue/example")
    assert [frame.body for frame in broker.wait_for("/queue/example", 2)] == [b'{"id": 7}'] * 2
    browser.wait(f"{LIST}.children.length === 2")
    browser.click("li:nth-child(2) .detail button:nth-child(4)")
    browser.wait("document.activeElement.id === 'send-body'")
    browser.run("document.activeElement.value = '{\"id\": 8'; document.activeElement.dispatchEvent(new Event('input'))")
    browser.click("#send-form button")
    frame = broker.wait_for("/queue/example", 3)[2]
    assert (frame.body, frame.headers["x-shop"]) == (b'{"id": 8', "a:b\n")


def test_a_message_is_copied(browser, broker):
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    broker.send("/queue/a", '{"id":7}', {"content-type": "application/json"})
    browser.wait(f"{LIST}.children.length === 1")
    browser.click("#message-list summary")
    browser.wait("document.querySelectorAll('.detail button').length === 4")
    browser.click(".detail button:nth-child(1)")
    notice(browser, "The body is copied.")
    assert browser.run("navigator.clipboard.readText()") == '{"id":7}'


def test_a_fault_is_switched_on_by_a_click_and_the_application_sees_it(browser, broker):
    with Publisher(broker.url) as publisher:
        publisher.send("/queue/a", 1)
        browser.click("#fault-error")
        notice(browser, "Done: Answer with ERROR.")
        browser.wait("document.querySelector('#active-list li')")
        with pytest.raises(Rejected, match="Access refused"):
            publisher.send("/queue/a", 2)
        browser.wait("document.querySelector('#active-faults').hidden")
        browser.run("document.querySelector('#fault-times').value = ''")
        browser.click("#fault-mute")
        browser.wait("document.querySelector('#active-list').textContent.includes('every time')")
        browser.click("#active-list button")
        browser.wait("document.querySelector('#active-faults').hidden")
        publisher.send("/queue/a", 3)


def test_all_is_done_with_the_keyboard_alone(browser, broker):
    broker.send("/queue/a", "text")
    browser.wait(f"{LIST}.children.length === 1")
    reached: set[str] = set()
    for _ in range(80):
        browser.press("Tab", 9)
        reached.add(browser.run("document.activeElement.id || document.activeElement.tagName"))
        if browser.run("document.activeElement.tagName") == "SUMMARY":
            assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
            browser.press("Enter", 13, "\r")
            browser.wait("document.querySelector('.detail pre')")
    assert {
        "search-text",
        "pause",
        "send-body",
        "SUMMARY",
        "PRE",
        "fault-on",
        "fault-error",
        "fault-close_idle",
    } <= reached


def test_paused_it_holds_messages_back_and_then_shows_them(browser, broker):
    browser.click("#pause")
    broker.send("/queue/a", "1")
    browser.wait("document.querySelector('#live').textContent === 'Paused, 1 new message'")
    assert browser.run(f"{LIST}.children.length") == 0
    browser.click("#pause")
    browser.wait(f"{LIST}.children.length === 1")


def test_when_the_page_is_away_it_says_so_and_goes_on_later(browser, broker, page):
    broker.send("/queue/a", "1")
    browser.wait(f"{LIST}.children.length === 1")
    page.stop()
    browser.wait("document.querySelector('#live').dataset.state === 'off'")
    broker.send("/queue/a", "2")
    page.start()
    browser.wait(f"{LIST}.children.length === 2")
    browser.problems.clear()  # the console names the failed requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (1000, 800), (390, 844), (320, 640)])
def test_nothing_is_wider_than_the_window_and_the_page_follows_the_color_scheme(browser, broker, scheme, width, height):
    browser.show(width, height, scheme, mobile=width < 500)
    broker.send("/queue/" + "long.name." * 12, b"x" * 3_000, {"x-long-header-name" * 3: "y" * 500})
    browser.wait(f"{LIST}.children.length === 1")
    browser.click("#message-list summary")
    browser.wait("document.querySelector('.detail pre')")
    assert browser.run("document.documentElement.scrollWidth") <= width
    dark = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in dark[4:-1].split(",")) < 200) == (scheme == "dark")


def test_a_flood_of_messages_leaves_the_page_usable(browser, broker):
    for number in range(3_000):
        broker.send("/topic/a", f"message {number}")
    browser.wait(f"{LIST}.textContent.includes('message 2999')")
    assert browser.run(f"{LIST}.children.length") <= 500
    browser.click("#pause")
    browser.wait("document.querySelector('#live').dataset.state === 'wait'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, broker, scheme):
    script = axe_script()
    browser.show(1280, 900, scheme)
    with Wire(broker) as wire:
        wire.connect(login="ada")
        wire.subscribe("/queue/b", ack="client")
        for body in (b'{"id":7}', b"\0\xff", pickle.dumps([1])):
            broker.send("/queue/a", body)
        browser.wait(f"{LIST}.children.length === 3")
        browser.click("#fault-error")
        browser.wait("document.querySelector('#active-list li')")
        for number in (1, 2, 3):
            browser.click(f"li:nth-child({number}) summary")
            browser.wait(f"document.querySelectorAll('.detail pre').length === {number}")
        assert serious_faults(browser, script) == []
