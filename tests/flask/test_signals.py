from __future__ import annotations

import logging

import pytest

from stomp_web import BrokerUnavailable
from stomp_web.flask import message_sent, send_failed
from stomp_web.testing import capture
from tests.flask.shop import create_app


def test_message_sent_tells_of_each_message_with_the_app_as_sender():
    app, other = create_app(STOMP_URL="memory://"), create_app(STOMP_URL="memory://")
    heard = []

    def receiver(sender, **arguments):
        heard.append((sender, arguments))

    with message_sent.connected_to(receiver, sender=app):
        identity = app.extensions["stomp"].send("/queue/a", 1)
        other.extensions["stomp"].send("/queue/a", 2)

    ((sender, arguments),) = heard
    assert sender is app
    assert arguments.pop("seconds") >= 0
    assert arguments == {"message_id": identity, "destination": "/queue/a", "confirmed": True}


def test_send_failed_tells_the_error():
    app = create_app(STOMP_URL="stomp://127.0.0.1:1")
    heard = []

    def receiver(sender, **arguments):
        heard.append((sender, arguments))

    with send_failed.connected_to(receiver), pytest.raises(BrokerUnavailable) as caught:
        app.extensions["stomp"].send("/queue/a", 1)

    ((sender, arguments),) = heard
    assert sender is app
    assert arguments["error"] is caught.value
    assert arguments["destination"] == "/queue/a"


def test_a_receiver_that_fails_does_not_fail_the_send(caplog: pytest.LogCaptureFixture):
    app = create_app(STOMP_URL="memory://")

    def receiver(sender, **arguments):
        raise RuntimeError("the receiver is broken")

    with message_sent.connected_to(receiver), caplog.at_level(logging.ERROR, "stomp_web.observers"):
        app.extensions["stomp"].send("/queue/a", 1)

    assert len(app.extensions["stomp"].outbox) == 1
    assert "the receiver is broken" in caplog.text


def test_signals_are_sent_for_captured_messages_too():
    app = create_app(STOMP_URL="stomp://127.0.0.1:1")
    heard = []

    def receiver(sender, **arguments):
        heard.append(arguments["message_id"])

    with message_sent.connected_to(receiver), capture() as outbox:
        app.test_client().post("/orders", data="tea")

    assert heard == [message.id for message in outbox]
    assert [message.payload for message in outbox] == [{"text": "tea"}, {"from": "shop"}]
