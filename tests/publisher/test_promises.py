"""Small promises of a publisher: what wins over what, what a deadline covers, what is named."""

from __future__ import annotations

import time

import pytest

from stomp_web import InvalidFrame, NotSent, PoolClosed, Publisher, ReceiptTimeout
from stomp_web.broker import Broker


class Slow:
    """A payload that takes its time to be written."""

    def __reduce__(self):
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            pass
        return (Slow, ())


def test_a_batch_that_fails_names_its_messages():
    with Broker() as broker, Publisher(broker.url) as publisher:
        broker.faults.close_before_receipt("SEND", after=1)
        with pytest.raises(Exception, match="receipt") as failure:
            publisher.send_many([("/queue/a", 1, {"x-message-id": "one"}), ("/queue/a", 2, {"x-message-id": "two"})])
    assert failure.value.message_ids == ("one", "two")
    assert failure.value.confirmed == (0,)
    assert failure.value.destination == "/queue/a"


def test_an_argument_wins_over_a_header():
    publisher = Publisher("memory://", headers={"persistent": "true"})
    publisher.send("/queue/a", 1, persistent=False)
    assert "persistent" not in publisher.outbox[0].headers


@pytest.mark.parametrize("standing", [{}, {"persistent": "false"}])
@pytest.mark.parametrize("own", [None, {"persistent": "false"}])
def test_persistent_true_overrides_every_header(standing: dict[str, str], own: dict[str, str] | None) -> None:
    publisher = Publisher("memory://", headers=standing)
    publisher.send("/queue/a", 1, own, persistent=True)
    assert publisher.outbox[0].headers["persistent"] == "true"


@pytest.mark.parametrize("scheme", ["memory", "console", "null"])
def test_a_closed_publisher_sends_nothing_wherever_it_sends_to(scheme):
    publisher = Publisher(f"{scheme}://")
    publisher.close()
    with pytest.raises(PoolClosed):
        publisher.send("/queue/a", 1)


def test_the_deadline_covers_the_writing_of_the_payload():
    with Broker() as broker, Publisher(broker.url) as publisher:
        with pytest.raises(NotSent):
            publisher.send("/queue/a", Slow(), serializer="pickle", timeout=0.05)
        assert broker.messages("/queue/a") == []


def test_the_content_type_of_a_signed_message_cannot_be_changed():
    publisher = Publisher("memory://", signing_keys=["key"])
    with pytest.raises(InvalidFrame, match="content type"):
        publisher.send("/queue/a", 1, {"content-type": "application/json"}, serializer="signed-json")


def test_at_least_once_a_message_without_a_receipt_is_sent_again_with_its_id():
    with Broker() as broker, Publisher(broker.url, resend_unknown=True) as publisher:
        publisher.check(60)  # no time of the send goes into connecting
        broker.faults.mute("SEND")
        message_id = publisher.send("/queue/a", 1, timeout=6)  # it waits for half of it
        assert {frame.headers["x-message-id"] for frame in broker.messages("/queue/a")} == {message_id}


def test_without_that_it_is_not():
    with Broker() as broker, Publisher(broker.url) as publisher:
        publisher.check(60)  # no time of the send goes into connecting
        broker.faults.mute("SEND")
        with pytest.raises(ReceiptTimeout):
            publisher.send("/queue/a", 1, timeout=1)


@pytest.mark.parametrize("destination", ["/queue/a\nfoo:bar", "/queue/a\r", "/queue/a\0"])
def test_a_destination_with_a_line_break_is_refused_in_every_version(destination):
    for version in ("1.0", "1.1", "1.2"):
        with Broker(versions=[version]) as broker, Publisher(broker.url) as publisher:
            with pytest.raises(InvalidFrame, match="line break"):
                publisher.send(destination, 1)
            assert broker.connections_accepted == 0
