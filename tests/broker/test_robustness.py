"""For any input the broker answers or ends the session, loses no message and serves other clients."""

from __future__ import annotations

import dataclasses
import os

import hypothesis
import hypothesis.strategies as st
import pytest

from stomp_web.broker import Broker
from stomp_web.broker.destinations import Destinations
from stomp_web.broker.naming import Naming
from stomp_web.broker.session import Session, Settings
from stomp_web.protocol import CLIENT_COMMANDS, VERSIONS, Frame, encode
from tests.broker.wire import Wire

NAMES = ("destination", "id", "ack", "transaction", "receipt", "message-id", "subscription", "priority", "requeue")
VALUES = (
    "/queue/a",
    "/queue/b",
    "/topic/a",
    "1",
    "2",
    "1:1",
    "1:2",
    "ID:x:1",
    "ID:x:2",
    "client",
    "auto",
    "false",
    "",
    "-",
)

SETTINGS = Settings(
    versions=VERSIONS,
    login=None,
    passcode=None,
    vhosts=None,
    denied=(),
    server="test",
    heart_beat=(0, 0),
    keep_open_after_error=True,
)

frames = st.builds(
    Frame,
    st.sampled_from(sorted(CLIENT_COMMANDS - {"CONNECT", "STOMP", "DISCONNECT"})),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES)),
)


@hypothesis.given(st.sampled_from(VERSIONS), st.lists(frames, max_size=60))
@hypothesis.settings(deadline=None)
def test_no_sequence_of_frames_breaks_a_session_or_loses_a_message(version, sent):
    destinations = Destinations("x", 10**9, "/queue/DLQ", 10**9, Naming())
    session = Session(1, SETTINGS, destinations)
    session.handle(Frame("CONNECT", {"accept-version": version}))
    consumed: set[int] = set()

    for frame in sent:
        (*answers,) = session.handle(frame)
        assert all(answer.command in ("RECEIPT", "ERROR") for answer in answers)
        for answer in answers:
            encode(answer, session.version)
        for subscription, entry in destinations.deliveries():
            message = session.deliver(subscription, entry)
            encode(message, session.version, content_length="content-length" in message.headers)
            if subscription.ack == "auto":
                consumed.add(entry.number)
        acknowledged = frame.command in ("ACK", "NACK", "COMMIT") and answers != []
        hypothesis.event("acknowledged" if acknowledged else "other")

    held = {message.number for name in ("/queue/a", "/queue/b") for message in destinations.unacknowledged(name)}
    session.end()
    for name in ("/queue/a", "/queue/b"):
        waiting = [message.number for message in destinations.waiting(name)]
        assert len(waiting) == len(set(waiting))
        assert not consumed & set(waiting)
        accepted = {message.number for message in destinations.journal.messages(name)}
        assert set(waiting) <= accepted
        assert held & accepted <= set(waiting)


@pytest.fixture(scope="module")
def lasting_broker():
    with Broker() as broker:
        yield broker


@hypothesis.given(
    st.lists(st.one_of(st.binary(max_size=50), frames.map(encode)), max_size=20),
    st.booleans(),
)
@hypothesis.settings(deadline=None, max_examples=60 if "CI" in os.environ else 20)
def test_no_bytes_break_the_broker(lasting_broker, chunks, connected):
    with Wire(lasting_broker) as wire:
        if connected:
            wire.connect()
        try:
            for chunk in chunks:
                wire.write(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was turned away already
    with Wire(lasting_broker) as wire:
        wire.connect()
        wire.put("/queue/alive", b"x")


def test_the_settings_of_sessions_do_not_show_the_passcode():
    settings = dataclasses.replace(SETTINGS, login="ada", passcode="s3cret")
    assert "ada" in repr(settings)
    assert "s3cret" not in repr(settings)
