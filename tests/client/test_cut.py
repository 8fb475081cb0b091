"""The connection ends, or the time is over, in the middle of a frame: what did not leave whole was not sent.

Brokers close the connection so at a frame over their limit: RabbitMQ 4.3 at 4 MiB (``stomp.max_frame_size``), without a
word, and ActiveMQ 5.17.
"""

from __future__ import annotations

import contextlib
import pickle
import ssl
import threading

import pytest

from stomp_web import (
    BrokerUnavailable,
    ConnectionLost,
    Message,
    MessageError,
    NotSent,
    PublishClient,
    Publisher,
    QueueingDuplexClient,
    ReceiptTimeout,
    Rejected,
)
from stomp_web.client.message import as_batch
from stomp_web.connection.deadline import Deadline
from tests.client.scripted import PATIENCE, Peer

LARGE = bytes(8_000_000)  # more than the buffers of both sides hold
RABBITMQ = "RabbitMQ/4.3.6"


@pytest.fixture(params=["tcp", "tls"])
def tls(request, authority) -> ssl.SSLContext | None:
    if request.param == "tcp":
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    return made


@pytest.fixture
def start(serve, tls, ca_file):
    """Starts a scripted server, and returns its address and the options to reach it."""

    def start(*scripts):
        server = serve(*scripts, tls=tls, receive_buffer=65_536)
        return server.url, {"tls_ca": ca_file} if tls is not None else {}

    return start


def refuse_size(after: int = 0, commands: tuple[str, ...] = ()):
    """A script: take *commands* and *after* SENDs, confirm those, read a little of the next, and close."""

    def script(peer: Peer) -> None:
        peer.accept(server=RABBITMQ)
        for command in commands:
            peer.expect(command)
        for _ in range(after):
            peer.receipt(peer.expect("SEND"))
        peer.sock.recv(1000)
        peer.reset()

    return script


def stall(over: threading.Event):
    """A script: take no byte of what comes, until the test is over."""

    def script(peer: Peer) -> None:
        peer.accept(server=RABBITMQ)
        over.wait(PATIENCE)

    return script


def judge(error: MessageError, whole: int, cut: tuple[int, ...]) -> None:
    """The *whole* messages before those that were *cut* are confirmed; a reset may take some of the receipts along."""
    if error.confirmed == tuple(range(whole)):
        assert type(error) is NotSent
        assert "did not leave whole, and so cannot have been taken" in str(error)
    else:
        assert type(error) is ConnectionLost
        assert error.not_sent == cut
        assert f"whether the first {whole}" in str(error)


@pytest.fixture
def over():
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("confirm", [True, False])
class TestOneMessage:
    def test_that_is_over_the_limit_was_not_sent(self, start, confirm):
        url, options = start(refuse_size())
        client = PublishClient.from_url(url, **options)
        with pytest.raises(NotSent, match=r"did not leave whole, and so cannot have been taken") as failure:
            client.send("/queue/a", LARGE, {"x-message-id": "id-1"}, confirm=confirm)
        words = str(failure.value)
        assert "of 80000" in words  # the size of the frame
        assert "limit the size of a message (RabbitMQ's stomp.max_frame_size, which is 4 MiB in 4.3" in words
        assert "not known" not in words
        assert failure.value.message_id == "id-1"
        assert not client.connected
        assert vars(pickle.loads(pickle.dumps(failure.value))) == vars(failure.value)

    def test_that_is_not_taken_in_time_was_not_sent(self, start, over, confirm):
        url, options = start(stall(over))
        client = PublishClient.from_url(url, **options)
        client.connect()
        with pytest.raises(NotSent, match=r"cannot have been taken: .*in time \(1 s given\)") as failure:
            client.send("/queue/a", LARGE, confirm=confirm, timeout=1.0)
        assert "limit" not in str(failure.value)
        assert not client.connected

    def test_of_which_the_broker_says_why_it_was_rejected(self, start, confirm):
        def script(peer: Peer) -> None:
            peer.accept(server="ActiveMQ/5.17.2")
            peer.sock.recv(1000)
            peer.error("The maximum frame size was exceeded")
            peer.sock.settimeout(PATIENCE)
            for _ in range(20):  # so that the client reads the words before it is cut off
                peer.sock.recv(65_536)
            peer.reset()

        url, options = start(script)
        with pytest.raises((Rejected, NotSent), match=r"maximum frame size|wireFormat\.maxFrameSize"):
            PublishClient.from_url(url, **options).send("/queue/a", LARGE, confirm=confirm)


def test_a_whole_message_of_that_size_is_unknown_and_the_limit_is_named(start):
    def script(peer: Peer) -> None:
        peer.accept(server=RABBITMQ)
        peer.expect("SEND")

    url, options = start(script)
    with pytest.raises(ConnectionLost, match=r"not known.*stomp.max_frame_size"):
        PublishClient.from_url(url, **options).send("/queue/a", bytes(5_000_000), confirm=True)
    with pytest.raises(ConnectionLost) as failure:
        PublishClient.from_url(url, **options).send("/queue/a", bytes(4_000_000), confirm=True)
    assert "limit" not in str(failure.value)


class TestBatch:
    def test_of_which_the_whole_ones_were_confirmed_the_rest_was_not_sent(self, start):
        url, options = start(refuse_size(after=3))
        batch = [Message("/queue/a", b"x")] * 3 + [Message("/queue/a", LARGE)] * 2
        with pytest.raises(MessageError) as failure:
            PublishClient.from_url(url, **options).send_many(batch, confirm=True)
        judge(failure.value, whole=3, cut=(3, 4))

    def test_of_which_a_whole_one_was_not_confirmed_is_unknown_and_names_those_that_were_not_sent(self, start):
        def script(peer: Peer) -> None:
            peer.accept(server=RABBITMQ)
            frames = [peer.expect("SEND") for _ in range(3)]
            peer.receipt(frames[0])
            peer.receipt(frames[2])
            peer.reset()

        url, options = start(script)
        batch = [Message("/queue/a", b"x")] * 3 + [Message("/queue/a", LARGE)] * 2
        with pytest.raises(
            ConnectionLost, match=r"first 3 of 5 messages.*not known, the others were not sent"
        ) as failure:
            PublishClient.from_url(url, **options).send_many(batch, confirm=True)
        assert failure.value.confirmed in ((0, 2), ())  # a reset may take the receipts along
        assert failure.value.not_sent == (3, 4)

    def test_of_unconfirmed_ones_those_that_left_whole_are_unknown(self, start, over):
        url, options = start(stall(over))
        batch = [Message("/queue/a", b"x")] * 3 + [Message("/queue/a", LARGE)] * 2
        client = PublishClient.from_url(url, **options)
        client.connect()
        with pytest.raises(ReceiptTimeout, match="first 3 of 5") as failure:
            client.send_many(batch, confirm=False, timeout=1.0)
        assert failure.value.not_sent == (3, 4)


class TestTransaction:
    def test_of_which_a_message_was_cut_was_not_sent(self, start):
        url, options = start(refuse_size(commands=("BEGIN",)))
        client = PublishClient.from_url(url, **options)
        with pytest.raises(NotSent, match="cannot have been taken"), client.transaction() as tx:
            tx.send("/queue/a", LARGE)

    def test_a_batch_in_it_is_nothing_without_its_commit(self, start):
        def script(peer: Peer) -> None:
            peer.accept(server=RABBITMQ)
            for command in ("BEGIN", "SEND", "SEND"):
                peer.expect(command)
            peer.reset()

        url, options = start(script)
        client = PublishClient.from_url(url, **options)
        tx = client.begin()
        messages = [Message("/queue/a", b"x")] * 2 + [Message("/queue/a", LARGE)]
        with pytest.raises(NotSent, match="cannot have been taken"):
            client.deliver(as_batch(messages), None, tx, Deadline(60))


class TestPublisher:
    def test_it_tries_a_message_that_was_cut_once_more(self, start):
        connections = []

        def script(peer: Peer) -> None:
            connections.append(peer)
            refuse_size()(peer)

        url, options = start(script)
        with Publisher(url, serializer="bytes", **options) as publisher:
            with pytest.raises(NotSent, match="limit the size"):
                publisher.send("/queue/a", LARGE)
            assert publisher.stats().not_sent == 1
        assert len(connections) == 2

    @pytest.mark.parametrize("resend", [False, True])
    def test_and_that_may_succeed(self, start, resend):
        bodies = []

        def second(peer: Peer) -> None:
            peer.accept(server=RABBITMQ)
            frame = peer.expect("SEND")
            bodies.append(frame.body)
            peer.receipt(frame)
            peer.serve()

        url, options = start(refuse_size(), second)
        with Publisher(url, serializer="bytes", timeout=30.0, resend_unknown=resend, **options) as publisher:
            publisher.send("/queue/a", LARGE)
        assert bodies == [LARGE]

    def test_of_a_batch_only_the_unconfirmed_ones_are_sent_again(self, start):
        bodies = []

        def second(peer: Peer) -> None:
            peer.accept(server=RABBITMQ)
            while (frame := peer.frame()).command == "SEND":
                bodies.append(frame.body)
                peer.receipt(frame)
            peer.receipt(frame)  # of DISCONNECT

        url, options = start(refuse_size(after=2), second)
        batch = [("/queue/a", b"0"), ("/queue/a", b"1"), ("/queue/a", LARGE), ("/queue/a", b"3")]
        with Publisher(url, serializer="bytes", timeout=30.0, resend_unknown=True, **options) as publisher:
            publisher.send_many(batch)
            assert publisher.stats().confirmed == 4
        assert bodies in ([LARGE, b"3"], [b"0", b"1", LARGE, b"3"])  # the latter if the reset took the receipts along

    def test_of_a_batch_that_fails_for_good_the_confirmed_ones_are_told(self, start):
        url, options = start(refuse_size(after=2), refuse_size())
        batch = [("/queue/a", b"0"), ("/queue/a", b"1"), ("/queue/a", LARGE)]
        with Publisher(url, serializer="bytes", timeout=30.0, **options) as publisher:
            with pytest.raises(MessageError) as failure:
                publisher.send_many(batch)
            judge(failure.value, whole=2, cut=(2,))
            stats = publisher.stats()
            confirmed = len(failure.value.confirmed)
            assert (stats.confirmed, stats.not_sent, stats.unknown) == (confirmed, 1, 2 - confirmed)


class TestDuplex:
    def failure(self, start, script, send) -> MessageError:
        url, options = start(script)
        with contextlib.closing(QueueingDuplexClient.from_url(url, timeout=30.0, **options)) as client:
            client.connect()
            with pytest.raises(MessageError) as failure:
                send(client)
        return failure.value

    @pytest.mark.parametrize("confirm", [True, False])
    def test_one_message_that_is_over_the_limit(self, start, confirm):
        error = self.failure(start, refuse_size(), lambda client: client.send("/queue/a", LARGE, confirm=confirm))
        assert type(error) is NotSent
        assert "did not leave whole, and so cannot have been taken" in str(error)
        assert "stomp.max_frame_size" in str(error)

    def test_with_a_loop(self, start):
        url, options = start(refuse_size())
        with contextlib.closing(QueueingDuplexClient.from_url(url, timeout=30.0, **options)) as client:
            client.connect()
            errors = []

            def listen() -> None:
                try:
                    client.listen_forever()
                except MessageError as error:
                    errors.append(error)

            thread = threading.Thread(target=listen)
            thread.start()
            assert client.listening_event.wait(PATIENCE)
            with pytest.raises(NotSent, match="cannot have been taken"):
                client.send("/queue/a", LARGE, confirm=True)
            thread.join(PATIENCE)
            assert isinstance(errors[0], ConnectionLost)

    def test_a_batch(self, start):
        batch = [Message("/queue/a", b"x")] * 3 + [Message("/queue/a", LARGE)] * 2
        error = self.failure(start, refuse_size(after=3), lambda client: client.send_many(batch, confirm=True))
        judge(error, whole=3, cut=(3, 4))

    def test_an_unconfirmed_batch(self, start):
        batch = [Message("/queue/a", b"x")] * 3 + [Message("/queue/a", LARGE)] * 2
        error = self.failure(
            start, refuse_size(commands=("SEND",) * 3), lambda client: client.send_many(batch, confirm=False)
        )
        assert type(error) is ConnectionLost
        assert error.not_sent == (3, 4)

    def test_what_waits_behind_it_was_not_sent_either(self, start, over):
        url, options = start(refuse_size())
        with contextlib.closing(QueueingDuplexClient.from_url(url, timeout=30.0, **options)) as client:
            client.connect()
            outcomes: dict[bytes, MessageError] = {}

            def send(body: bytes) -> None:
                try:
                    client.send("/queue/a", body, confirm=True)
                except MessageError as error:
                    outcomes[body[:1]] = error

            threads = [threading.Thread(target=send, args=(body,)) for body in (LARGE, b"x", b"y")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            assert len(outcomes) == 3
            assert isinstance(outcomes[b"\0"], NotSent)
            # Those that were handed over before the large one may have left.
            assert all(isinstance(each, NotSent | ConnectionLost) for each in outcomes.values())

    def test_a_transaction(self, start):
        def send(client: QueueingDuplexClient) -> None:
            with client.transaction() as tx:
                tx.send("/queue/a", LARGE)

        error = self.failure(start, refuse_size(commands=("BEGIN",)), send)
        assert isinstance(error, NotSent)
        assert not isinstance(error, BrokerUnavailable)
