"""stomp.py uses the development broker without noticing: what it gets from RabbitMQ and ActiveMQ, it gets from ours.

The tests are the same for the real brokers. So they cannot describe a broker that does not exist.
"""

from __future__ import annotations

import queue
import threading
import uuid
from typing import TYPE_CHECKING

import pytest
import stomp
from stomp.exception import ConnectFailedException

from tests.brokers import fleet
from tests.brokers.beats import one_survives
from tests.brokers.foreign import ForeignClient, ForeignError, Received
from tests.brokers.receiving import check_that_all_was_taken, left_behind, send_three, what_is_left
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from stomp.utils import Frame

    from tests.brokers.running import RunningBroker

pytestmark = pytest.mark.parametrize("broker", ["development", *fleet.REAL], indirect=True)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_it_connects_subscribes_sends_and_disconnects_over(
    broker: RunningBroker, destination: str, version: str
) -> None:
    with ForeignClient(broker, version=version) as both:
        assert both.connected_frame is not None
        assert both.connected_frame.headers.get("version", "1.0") == version
        assert both.connected_frame.headers["session"]
        subscription = both.subscribe(destination)
        both.send(destination, b"\0\xff", {"name": "value"})
        message = both.get()
    assert message.body == b"\0\xff"
    assert message.headers["name"] == "value"
    assert message.headers["destination"] == destination
    assert message.headers["message-id"]
    assert message.headers.get("subscription", subscription) == subscription
    assert not both.connection.is_connected()


def test_its_own_waiting_calls_return(broker: RunningBroker, destination: str) -> None:
    connection = stomp.Connection12([(broker.host, broker.port)], vhost=broker.vhost)
    connection.connect(broker.login, broker.passcode, wait=True)
    with connection:
        waiting = stomp.listener.WaitingListener("my-receipt")
        connection.set_listener("waiting", waiting)
        connection.send(destination, "text", receipt="my-receipt")
        waiting.wait_on_receipt()
    assert not connection.is_connected()


def test_a_wrong_login_ends_its_connect(broker: RunningBroker) -> None:
    connection = stomp.Connection12([(broker.host, broker.port)], vhost=broker.vhost, reconnect_attempts_max=1)
    with pytest.raises(ConnectFailedException):
        connection.connect(broker.login, "wrong", wait=True)
    connection.transport.disconnect_socket()


def test_a_wrong_login_is_told_in_an_error_frame(broker: RunningBroker) -> None:
    for _ in range(10):  # ActiveMQ/6.3.1 closes about one connection of 200 without its ERROR
        client = ForeignClient(broker, passcode="wrong")
        with pytest.raises(ForeignError, match="refused CONNECT"):
            client.connect()
        client.close()
        if client.errors:
            break
    assert client.errors[0].headers["message"]


@pytest.mark.parametrize("value", ["colon: and : more", "line\nfeed", "back\\slash \\n \\c", "größe 世😀", " spaces "])
def test_escaped_headers_pass_between_two_of_its_clients(
    broker: RunningBroker, writer: ForeignClient, destination: str, value: str
) -> None:
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        writer.send(destination, b"x", {"special": value})
        assert reader.get().headers["special"] == value


def test_two_subscribers_of_a_queue_share_its_messages(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    shared: queue.Queue[Received | None] = queue.Queue()
    with ForeignClient(broker, messages=shared) as one, ForeignClient(broker, messages=shared) as other:
        subscriptions = {one.subscribe(destination), other.subscribe(destination)}
        for number in range(10):
            writer.send(destination, f"{number}")
        arrived = [one.get() for _ in range(10)]
        assert sorted(message.body for message in arrived) == [f"{number}".encode() for number in range(10)]
        assert {message.headers["subscription"] for message in arrived} == subscriptions


def test_a_topic_forgets_what_nobody_hears(broker: RunningBroker, writer: ForeignClient) -> None:
    topic = f"/topic/{uuid.uuid4().hex}"
    writer.send(topic, "unheard")
    with ForeignClient(broker) as one, ForeignClient(broker) as other:
        one.subscribe(topic)
        other.subscribe(topic)
        writer.send(topic, "heard")
        assert one.get().body == other.get().body == b"heard"


def test_after_unsubscribe_messages_wait_in_the_queue(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    with ForeignClient(broker) as former, ForeignClient(broker) as later:
        former.unsubscribe(former.subscribe(destination))
        writer.send(destination, "waits")
        later.subscribe(destination)
        assert later.get().body == b"waits"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_ack_client_takes_all_messages_up_to_the_one_named(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    send_three(writer, destination)
    with ForeignClient(broker, version=version) as reader:
        reader.subscribe(destination, ack="client")
        messages = [reader.get() for _ in range(3)]
        reader.ack(messages[1])
    assert what_is_left(broker, writer, destination, at_least=1) == [(b"three", True)]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_ack_client_individual_takes_the_one_named(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    send_three(writer, destination)
    with ForeignClient(broker, version=version) as reader:
        reader.subscribe(destination, ack="client-individual")
        messages = [reader.get() for _ in range(3)]
        reader.ack(messages[1])
    assert what_is_left(broker, writer, destination, at_least=2) == left_behind(broker, b"one", b"three")


def test_ack_auto_takes_what_was_delivered(broker: RunningBroker, writer: ForeignClient, destination: str) -> None:
    send_three(writer, destination)
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        assert [reader.get().body for _ in range(3)] == [b"one", b"two", b"three"]
    check_that_all_was_taken(broker, writer, destination, b"three")


def test_a_nack_is_accepted_and_does_not_count_as_an_ack(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    unwanted = f"unwanted-{uuid.uuid4()}".encode()
    writer.send(destination, unwanted, {"persistent": "true"})
    with ForeignClient(broker) as reader, ForeignClient(broker) as other:
        reader.subscribe(destination, ack="client-individual")
        reader.nack(reader.get())
        reader.close()
        if broker.traits.nack_drops:
            assert what_is_left(broker, writer, destination) == []
            return
        other.subscribe(broker.traits.nacked_to or destination)
        while other.get().body != unwanted:  # a queue of dead messages may hold those of other tests
            pass


def test_a_committed_transaction_delivers_and_an_aborted_one_does_not(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        for end, body in (("ABORT", "aborted"), ("COMMIT", "committed")):
            transaction = uuid.uuid4().hex
            writer.confirmed("BEGIN", {"transaction": transaction})
            writer.connection.send(destination, body, transaction=transaction)
            writer.confirmed(end, {"transaction": transaction})
        assert reader.get().body == b"committed"


def test_an_ack_in_an_aborted_transaction_did_not_happen(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "acks_in_transactions")
    writer.send(destination, "still there")
    with ForeignClient(broker) as reader:
        reader.subscribe(destination, ack="client-individual")
        message = reader.get()
        reader.confirmed("BEGIN", {"transaction": "t"})
        reader.connection.ack(message.headers["ack"], transaction="t")
        reader.confirmed("ABORT", {"transaction": "t"})
    assert what_is_left(broker, writer, destination, at_least=1) == [(b"still there", True)]


def test_heart_beats_are_agreed_on_and_keep_a_silent_connection_open(broker: RunningBroker, destination: str) -> None:
    def check(beat: int, _: float) -> None:
        beats = _Beats(count=3)
        with ForeignClient(broker, heartbeats=(beat, beat)) as client:
            client.connection.set_listener("beats", beats)
            assert client.connected_frame is not None
            sends, wants = map(int, client.connected_frame.headers["heart-beat"].split(","))
            assert sends > 0
            assert wants > 0
            assert beats.enough.wait(PATIENCE)
            assert not beats.lost
            client.subscribe(destination)  # the connection works after three beats of silence

    one_survives(check)


def test_an_unknown_transaction_is_answered_by_an_error_frame(writer: ForeignClient, destination: str) -> None:
    with pytest.raises(ForeignError, match=r"(?i)transaction|committing"):
        writer.confirmed("COMMIT", {"transaction": "never-begun"})


def test_a_mebibyte_passes(broker: RunningBroker, writer: ForeignClient, destination: str) -> None:
    body = bytes(range(256)) * 4096
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        writer.send(destination, body)
        assert reader.get().body == body


class _Beats(stomp.ConnectionListener):
    def __init__(self, count: int) -> None:
        self._left = count
        self.enough = threading.Event()
        self.lost = False

    def on_heartbeat(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.enough.set()

    def on_heartbeat_timeout(self) -> None:
        self.lost = True
        self.enough.set()

    def on_error(self, frame: Frame) -> None:
        self.lost = True
        self.enough.set()

    def on_disconnected(self) -> None:
        self.lost = True
        self.enough.set()
