"""Observers see every send begin, succeed and fail, and every change of the pool; they harm nobody."""

from __future__ import annotations

import logging

import pytest

from stomp_web import ConnectionLost, Message, Publisher, Rejected, StompError
from stomp_web.observers import Observers, PoolChanged, SendBegan, SendFailed, SendSucceeded


@pytest.fixture
def events():
    return []


@pytest.fixture
def observed(make_publisher, events):
    return make_publisher(observers=[events.append])


def of_sends(events):
    return [event for event in events if not isinstance(event, PoolChanged)]


def test_a_send_that_succeeds(observed, events, broker):
    message_id = observed.send("/queue/a", "Zoë")
    began, changed, succeeded = events
    assert (began.message_id, began.destination, began.body_bytes) == (message_id, "/queue/a", 6)
    assert changed == PoolChanged("opened", f"stomp://127.0.0.1:{broker.port}")
    assert (succeeded.message_id, succeeded.destination, succeeded.confirmed) == (message_id, "/queue/a", True)
    assert 0 < succeeded.seconds < 60


def test_a_send_that_is_not_confirmed(observed, events):
    observed.send("/queue/a", 1, confirm=False)
    assert events[-1].confirmed is False


def test_a_send_that_fails(observed, events, broker):
    broker.faults.error("SEND", "No")
    with pytest.raises(Rejected) as failure:
        observed.send("/queue/a", 1)
    began, failed = of_sends(events)
    assert isinstance(began, SendBegan)
    assert isinstance(failed, SendFailed)
    assert failed.error is failure.value
    assert failed.message_id == began.message_id
    assert PoolChanged("discarded", f"stomp://127.0.0.1:{broker.port}") in events


def test_a_send_that_is_interrupted_has_an_end_too(observed, events, monkeypatch):
    observed.send("/queue/a", 1)
    events.clear()

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("stomp_web.connection.session.Session.receipts_in_order", interrupt)
        with pytest.raises(KeyboardInterrupt):
            observed.send("/queue/a", 1)
    began, failed = of_sends(events)
    assert (type(began), type(failed)) == (SendBegan, SendFailed)
    assert isinstance(failed.error, KeyboardInterrupt)


def test_each_message_of_a_batch_has_events_of_its_own(observed, events, broker):
    broker.faults.close_before_receipt("SEND", after=1)
    with pytest.raises(ConnectionLost):
        observed.send_many([("/queue/a", 1), ("/queue/b", 2), ("/queue/c", 3)])
    sends = of_sends(events)
    assert [type(event) for event in sends] == [SendBegan] * 3 + [SendSucceeded, SendFailed, SendFailed]
    assert [event.destination for event in sends] == ["/queue/a", "/queue/b", "/queue/c"] * 2


def test_the_size_is_counted_in_bytes(observed, events):
    observed.send_many([Message("/queue/a", "Zoë"), Message("/queue/a", memoryview(b"abcdefgh").cast("I"))])
    assert [event.body_bytes for event in of_sends(events)[:2]] == [4, 8]


def test_an_observer_may_add_headers(make_publisher, broker):
    def trace(event):
        if isinstance(event, SendBegan):
            event.headers["traceparent"] = "00-1"

    headers = {"a": "b"}
    make_publisher(observers=[trace]).send("/queue/a", 1, headers)
    (frame,) = broker.messages("/queue/a")
    assert (frame.headers["traceparent"], frame.headers["a"]) == ("00-1", "b")
    assert headers == {"a": "b"}


def test_an_observer_that_raises_is_logged_and_changes_nothing(make_publisher, broker, events, caplog):
    def broken(event):
        raise KeyError("broken")

    publisher = make_publisher(observers=[broken, events.append])
    with caplog.at_level(logging.ERROR, "stomp_web.observers"):
        publisher.send("/queue/a", 1)
    assert len(of_sends(events)) == 2
    assert len(broker.messages("/queue/a")) == 1
    assert "failed at SendBegan" in caplog.text
    assert "KeyError: 'broken'" in caplog.text


def test_an_observer_may_send_by_itself(make_publisher, broker):
    def audit(event):
        if isinstance(event, SendSucceeded) and event.destination != "/queue/audit":
            publisher.send("/queue/audit", event.message_id)

    publisher = make_publisher(observers=[audit], pool_size=1)
    publisher.send("/queue/a", 1)
    assert len(broker.messages("/queue/audit")) == 1


def test_observers_may_come_and_go(events):
    observers = Observers()
    assert not observers
    observers.add(events.append)
    assert observers
    observers.notify(PoolChanged("opened", "x"))
    observers.remove(events.append)
    observers.remove(print)
    observers.notify(PoolChanged("closed", "x"))
    assert [event.change for event in events] == ["opened"]


def test_an_observer_that_comes_later_sees_the_pool_too(publisher, events, broker):
    publisher.observers.add(events.append)
    publisher.send("/queue/a", 1)
    assert PoolChanged("opened", f"stomp://127.0.0.1:{broker.port}") in events
    (opened,) = (event for event in events if isinstance(event, PoolChanged))
    assert opened.server.startswith("stomp-web/")


def test_the_events_of_a_call_belong_together(observed, events):
    observed.send_many([("/queue/a", 1), ("/queue/b", 2)])
    first, second, *ends = of_sends(events)
    assert first.call.destinations == ("/queue/a", "/queue/b")
    assert first.call.headers[1] is second.headers
    assert {id(event.call) for event in (first, second, *ends)} == {id(first.call)}
    events.clear()
    observed.send("/queue/a", 1)
    assert {event.call.destinations for event in of_sends(events)} == {("/queue/a",)}
    assert of_sends(events)[0].call is not first.call


def test_no_event_shows_headers_or_body(events):
    publisher = Publisher("null://", observers=[events.append])
    publisher.send("/queue/a", "s3cret", {"token": "s3cret"})
    assert "s3cret" not in repr(events)


def test_nothing_is_told_of_what_cannot_be_sent_at_all(observed, events):
    with pytest.raises(StompError):
        observed.send("/queue/a", object())
    with pytest.raises(StompError):
        observed.send("", 1)
    assert events == []
