from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from stomp_web import BrokerUnavailable, Publisher
from stomp_web.django import message_sent, publisher, send, send_failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.dispatch import Signal


@contextlib.contextmanager
def heard(signal: Signal) -> Iterator[list[dict[str, object]]]:
    calls: list[dict[str, object]] = []

    def receiver(**arguments: object) -> None:
        calls.append(arguments)

    signal.connect(receiver)
    try:
        yield calls
    finally:
        signal.disconnect(receiver)


def test_message_sent_tells_of_each_message():
    with heard(message_sent) as calls:
        identity = send("/queue/a", 1, using="audit")

    (call,) = calls
    assert call.pop("seconds") >= 0
    assert call == {
        "signal": message_sent,
        "sender": Publisher,
        "using": "audit",
        "message_id": identity,
        "destination": "/queue/a",
        "confirmed": True,
    }


def test_send_failed_tells_the_error():
    nowhere = override_settings(STOMP={"default": {"OPTIONS": {"url": "stomp://127.0.0.1:1"}}})
    with nowhere, heard(send_failed) as calls, pytest.raises(BrokerUnavailable) as caught:
        send("/queue/a", 1)

    (call,) = calls
    assert call["error"] is caught.value
    assert (call["using"], call["destination"]) == ("default", "/queue/a")


def test_a_receiver_that_fails_fails_neither_the_send_nor_the_other_receivers(caplog: pytest.LogCaptureFixture):
    def broken(**arguments: object) -> None:
        raise RuntimeError("the receiver is broken")

    message_sent.connect(broken)
    try:
        with heard(message_sent) as calls, caplog.at_level(logging.ERROR):
            send("/queue/a", 1)
    finally:
        message_sent.disconnect(broken)

    assert len(calls) == len(publisher.outbox) == 1
    assert "the receiver is broken" in caplog.text
