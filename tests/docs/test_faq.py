"""The FAQ quotes texts as the code prints them. In its headings, ``…`` stands for what the code puts in."""

from __future__ import annotations

import ast
import asyncio
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import stomp_web
from stomp_web import ConfigurationError, MessageError, PublishClientPool, Publisher, SerializationError
from stomp_web.broker import Broker
from stomp_web.serializers import deserialize
from stomp_web.worker import Worker
from tests.docs.pages import DOCS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(stomp_web.__file__).parent
PAGE = (DOCS / "how-to" / "faq.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^### `(.+?)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
VALUE = "…"


@functools.cache
def texts() -> tuple[str, ...]:
    """Every text in the source of the package, with `VALUE` where one or several values are put in."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))]
    found = map(text_of, (node for tree in trees for node in ast.walk(tree)))
    return tuple(re.sub(f"{VALUE}+", VALUE, text) for text in found if text)


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or VALUE for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(?:\.\d)?[sdgfr]", VALUE, node.value)
    return ""


def test_each_third_heading_is_a_text() -> None:
    assert len(ENTRIES) == PAGE.count("\n### ")


@pytest.mark.parametrize("text", ENTRIES)
def test_the_source_has_the_text(text: str) -> None:
    assert any(text in known for known in texts())


@pytest.mark.parametrize("text", ENTRIES)
def test_an_entry_links_to_a_page_that_says_more(text: str) -> None:
    assert re.search(r"\]\([\w./-]+\.md[)#]", ENTRIES[text])


def test_a_text_that_the_source_does_not_have_is_found_out() -> None:
    assert not any("the broker is on holiday" in known for known in texts())


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(login="guest", passcode="guest") as running:
        yield running


@pytest.fixture
def publisher(broker: Broker) -> Iterator[Publisher]:
    with Publisher(broker.url) as publisher:
        yield publisher


def send_to(url: str, **options: Any) -> None:
    with Publisher(url, **options) as publisher:
        publisher.send("/queue/orders", 1)


class TestTheTextIsWhatAUserSees:
    """Some of the entries: what the page says leads to the text does so."""

    def check(self, text: str, kind: type[BaseException], call: Callable[[], object]) -> None:
        assert text in ENTRIES
        with pytest.raises(kind, match=VALUE.join(map(re.escape, text.split(VALUE))).replace(VALUE, ".*")):
            call()

    def test_no_broker(self, broker: Broker) -> None:
        broker.faults.stop_listening()
        self.check("cannot open a session with …: …; nothing was sent.", MessageError, lambda: send_to(broker.url))

    def test_no_answer(self, broker: Broker) -> None:
        broker.faults.mute("CONNECT")
        text = "no session with … within … s: …; nothing was sent."
        self.check(text, MessageError, lambda: send_to(broker.url, timeout=0.2))

    def test_tls_to_a_port_without_it(self, broker: Broker) -> None:
        text = "The port does not seem to speak TLS; without it, the address begins with stomp://"
        self.check(text, MessageError, lambda: send_to(f"stomp+ssl://127.0.0.1:{broker.port}"))

    def test_a_wrong_passcode(self, broker: Broker) -> None:
        text = "… refused the session … on the virtual host …: …"
        self.check(text, MessageError, lambda: send_to(f"stomp://guest:wrong@127.0.0.1:{broker.port}"))

    def test_an_attempt_that_is_not_made(self, publisher: Publisher, broker: Broker) -> None:
        broker.faults.stop_listening()

        def send_often() -> None:
            for _ in range(100):  # the pause is random, and can be over at once
                try:
                    publisher.send("/queue/orders", 1)
                except MessageError as error:
                    if "is not tried now" in str(error):
                        raise

        text = "… (it failed …, and is not tried now; the next attempt is made in … s)"
        self.check(text, MessageError, send_often)

    def test_a_port_that_is_taken(self, broker: Broker) -> None:
        self.check("the broker cannot listen on …: …", OSError, Broker(port=broker.port).start)

    def test_none_of_several_brokers(self, broker: Broker) -> None:
        broker.faults.stop_listening()
        text = "none of the … brokers of … could be reached; nothing was sent."
        self.check(text, MessageError, lambda: send_to(f"stomp://127.0.0.1:{broker.port},localhost:{broker.port}"))

    def test_a_pool_that_is_busy(self, broker: Broker) -> None:
        def lease_twice() -> None:
            with PublishClientPool(broker.url, max_size=1) as pool, pool.client(), pool.client(timeout=0.1):
                pass

        text = "were in use for … s; nothing was sent. Is the broker slow? Otherwise"
        self.check(text, MessageError, lease_twice)

    def test_a_publisher_that_was_closed(self, publisher: Publisher) -> None:
        publisher.close()
        text = "the pool for … is closed; nothing was sent"
        self.check(text, MessageError, lambda: publisher.send("/queue/orders", 1))

    def test_a_refused_message(self, publisher: Publisher, broker: Broker) -> None:
        broker.faults.error("SEND", "Access refused")
        text = "… rejected it: …. The broker did not accept it; sending it again unchanged will fail again"
        self.check(text, MessageError, lambda: publisher.send("/queue/orders", 1))

    def test_no_receipt(self, publisher: Publisher, broker: Broker) -> None:
        broker.faults.close_before_receipt("SEND")
        text = "no receipt from …: …; whether the message arrived is not known."
        self.check(text, MessageError, lambda: publisher.send("/queue/orders", 1))

    def test_a_payload_without_a_form(self, publisher: Publisher) -> None:
        text = "the payload (…) for … cannot be written as …: …"
        self.check(text, SerializationError, lambda: publisher.send("/queue/orders", {"order": object()}))

    def test_an_unknown_option(self, broker: Broker) -> None:
        text = "there is no option …; …"
        self.check(text, ConfigurationError, lambda: send_to(broker.url, pool_sise=3))

    def test_an_address_with_two_logins(self) -> None:
        text = "the address has an '@' where it can be read in two ways"
        self.check(text, ConfigurationError, lambda: send_to("stomp://shop:a@mq1,shop:b@mq2"))

    def test_a_pickle_that_is_not_accepted(self) -> None:
        headers = {"content-type": "application/x-python-serialize"}
        text = "but only … is accepted; it was not read"
        self.check(text, SerializationError, lambda: deserialize(b"", headers))

    def test_an_async_handler(self, broker: Broker) -> None:
        async def handler(message: object) -> None: ...

        text = "the handler … is …: a call of it returns before its code has run"
        self.check(text, ConfigurationError, lambda: Worker(broker.url).subscribe("/queue/orders")(handler))

    def test_send_in_an_event_loop(self, publisher: Publisher) -> None:
        async def view() -> None:
            publisher.send("/queue/orders", 1)

        text = "… blocks the event loop of this thread until the broker has answered; … does not"
        assert text in ENTRIES
        with pytest.warns(RuntimeWarning, match=re.escape(text).replace(VALUE, ".*")):
            asyncio.run(view())
