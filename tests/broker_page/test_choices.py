"""Every fault that the page offers has the effect that it names, on a publisher of this library."""

from __future__ import annotations

import pytest

from stomp_web import BrokerUnavailable, ConnectionLost, DeliveryUnknown, Publisher, ReceiptTimeout, Rejected
from stomp_web.broker.page.choices import CHOICES
from tests.broker_page.asking import Stream, done, post


def test_every_fault_can_be_switched_on_with_its_defaults_and_all_can_be_ended(broker, page):
    for name in CHOICES:
        assert done(page, "/fault", {"name": name}) == f"Done: {CHOICES[name].title}."
    assert done(page, "/clear-faults", {}) == "All faults are switched off."
    with Publisher(broker.url) as publisher:
        publisher.send("/queue/a", 1)
    assert len(broker.messages("/queue/a")) == 1


@pytest.mark.parametrize(
    ("name", "error", "accepted"),
    [
        ("error", Rejected, 0),
        ("drop", ConnectionLost, 0),
        ("close_before_receipt", ConnectionLost, 1),
        ("mute", ReceiptTimeout, 1),
        ("delay", ReceiptTimeout, 1),
        ("late_receipt", ReceiptTimeout, 1),
        ("garbage", DeliveryUnknown, 1),
        ("freeze_on", ReceiptTimeout, 0),
    ],
)
def test_a_fault_of_a_frame_is_what_the_application_sees(broker, page, name, error, accepted):
    assert error.__name__ in CHOICES[name].effect
    with Publisher(broker.url, timeout=60) as publisher:
        publisher.send("/queue/before", 1)
        done(page, "/fault", {"name": name, **({"seconds": 120} if name == "delay" else {})})
        with pytest.raises(error):
            publisher.send("/queue/a", 2, timeout=1 if error is ReceiptTimeout else 60)
        assert broker.wait_until(lambda: len(broker.messages("/queue/a")) == accepted)
        publisher.send("/queue/after", 3)
        assert len(broker.messages("/queue/a")) == accepted


@pytest.mark.parametrize("name", ["refuse", "stop_listening"])
def test_a_fault_of_a_connection_is_what_the_application_sees(broker, page, name):
    done(page, "/fault", {"name": name, **({} if name == "stop_listening" else {"times": None})})
    with Publisher(broker.url) as publisher, pytest.raises(BrokerUnavailable):
        publisher.send("/queue/a", 1)
    with Stream(page) as stream:
        state = stream.next("state").data
    assert state["faults"] or not state["listening"]


def test_parameters_choose_frame_number_and_text(broker, page):
    given = {"name": "error", "on": "CONNECT", "times": 2, "message": "No entry today"}
    done(page, "/fault", given)
    with Stream(page) as stream:
        fault = stream.next("state").data["faults"][0]
        assert (fault["title"], fault["on"], fault["left"], fault["fired"]) == ("Answer with ERROR", "CONNECT", 2, 0)
        with Publisher(broker.url) as publisher:
            with pytest.raises(Exception, match="No entry today"):
                publisher.send("/queue/a", 1)
            stream.state_with(lambda state: state["faults"] and state["faults"][0]["fired"] == 1)


def test_one_fault_is_switched_off_and_the_others_stay(broker, page):
    done(page, "/fault", {"name": "error", "times": None})
    broker.faults.mute("SEND", times=None)
    with Stream(page) as stream:
        first, second = stream.next("state").data["faults"]
        assert second["title"] == "A fault that a program has requested"
        done(page, "/cancel", {"number": first["number"]})
        assert stream.state_with(lambda state: len(state["faults"]) == 1)["faults"] == [second]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "there is no fault 'None'; the faults are error, "),
        ({"name": "clear"}, "there is no fault 'clear'"),
        ({"name": ["error"]}, "there is no fault"),
        ({"name": "error", "on": "MESSAGE"}, "'on' must be null"),
        ({"name": "error", "on": []}, "'on' must be null"),
        ({"name": "error", "times": 0}, "'times' must be null"),
        ({"name": "error", "times": True}, "'times' must be null"),
        ({"name": "delay", "seconds": -1}, "'seconds' must be a number"),
        ({"name": "delay", "seconds": "1"}, "'seconds' must be a number"),
        (b'{"name": "delay", "seconds": NaN}', "'seconds' must be a number"),
        ({"name": "error", "message": 1}, "'message' must be a text"),
        ({"name": "error", "message": "x" * 1001}, "'message' must be a text"),
        ({"name": "freeze", "times": 1}, "'freeze' has no parameter 'times'"),
        ({"name": "error", "process": True}, "has no parameter 'process'"),
    ],
)
def test_a_wrong_parameter_is_a_clear_error_and_no_fault(broker, page, given, words):
    answer = post(page, "/fault", given)
    assert answer.status == 400
    assert words in answer.json["error"]
    assert broker._loop.rules.active() == []
