"""The end of a client's connection: disconnect, close, the context manager, a fork."""

from __future__ import annotations

import os
import threading

import pytest

from stomp_web import (
    BrokerUnavailable,
    ConnectionLost,
    PublishClient,
    ReceiptTimeout,
    Rejected,
    StompError,
)
from stomp_web.protocol import Frame
from tests.client.scripted import eventually, news


class TestDisconnect:
    def test_it_waits_for_the_receipt_and_closes(self, client, broker):
        client.send("/queue/a", b"unconfirmed")
        client.disconnect()
        assert len(broker.messages("/queue/a")) == 1
        assert broker.received("DISCONNECT") == 1
        assert not client.connected
        assert broker.wait_until(lambda: broker.sessions == 0)

    def test_it_does_nothing_when_not_connected(self, client, broker):
        client.disconnect()
        client.connect()
        client.disconnect()
        client.disconnect()
        assert broker.received("DISCONNECT") == 1

    def test_the_client_can_connect_again(self, client, broker):
        client.connect()
        client.disconnect()
        client.send("/queue/a", confirm=True)
        assert broker.connections_accepted == 2

    def test_it_is_bounded_when_nothing_was_unconfirmed_and_raises_nothing(self, client, broker):
        client.connect()
        broker.faults.mute("DISCONNECT")
        client.disconnect(timeout=0.05)
        assert not client.connected

    @pytest.mark.parametrize("reset", [False, True])
    def test_it_raises_nothing_when_the_broker_has_gone_and_nothing_was_unconfirmed(self, client, broker, reset):
        client.send("/queue/a", confirm=True)
        session = client.state.session
        broker.faults.close_connections(reset=reset)
        assert news(session)
        client.disconnect()
        assert not client.connected

    def test_unconfirmed_messages_that_nobody_confirmed_are_told(self, client, broker):
        broker.faults.freeze("DISCONNECT")
        client.send("/queue/a", b"unconfirmed")
        with pytest.raises(ReceiptTimeout):
            client.disconnect(timeout=1)
        assert not client.connected

    @pytest.mark.parametrize("reset", [False, True])
    def test_unconfirmed_messages_are_unknown_when_the_broker_has_gone(self, client, broker, reset):
        client.send("/queue/a", b"unconfirmed")
        assert broker.wait_for("/queue/a")
        session = client.state.session
        broker.faults.close_connections(reset=reset)
        assert news(session)
        with pytest.raises(ConnectionLost):
            client.disconnect()
        assert not client.connected

    def test_an_error_for_an_unconfirmed_message_is_raised(self, client, broker):
        broker.faults.error("SEND", "No")
        client.send("/queue/a", b"refused")
        with pytest.raises(Rejected, match="No"):
            client.disconnect()
        assert not client.connected


class TestClose:
    def test_it_says_nothing_and_may_be_called_again(self, client, broker):
        client.connect()
        client.close()
        client.close()
        assert broker.wait_until(lambda: broker.sessions == 0)
        assert broker.received("DISCONNECT") == 0

    def test_the_client_connects_again_when_it_is_needed(self, client, broker):
        client.send("/queue/a")
        client.close()
        client.send("/queue/a", confirm=True)
        assert broker.connections_accepted == 2


class TestContextManager:
    def test_it_connects_and_disconnects(self, broker):
        with PublishClient(*broker.address) as client:
            assert client.connected
        assert not client.connected
        assert broker.received("DISCONNECT") == 1

    def test_an_exception_closes_and_passes_through(self, broker):
        with pytest.raises(KeyError), PublishClient(*broker.address) as client:
            raise KeyError
        assert not client.connected
        assert broker.received("DISCONNECT") == 0

    def test_no_broker_no_block(self, broker):
        broker.faults.refuse(times=None)
        with pytest.raises(BrokerUnavailable), PublishClient(*broker.address):
            pytest.fail("the block ran")


class TestRepr:
    def test_it_shows_the_address_and_the_state_but_no_passcode(self, broker):
        client = PublishClient(*broker.address, login="user", passcode="s3cret")
        assert repr(client) == f"<PublishClient stomp://127.0.0.1:{broker.port}, not connected>"
        with client:
            assert repr(client) == f"<PublishClient stomp://127.0.0.1:{broker.port}, STOMP 1.2>"


def test_a_publish_client_cannot_subscribe_and_says_who_can(client, broker):
    with pytest.raises(StompError, match=r"QueueingDuplexClient.*PublishSubscribeClient"):
        client.subscribe("/queue/a")
    assert broker.connections_accepted == 0


def test_it_starts_no_thread(broker):
    before = threading.active_count()
    with PublishClient(*broker.address) as client:
        client.send("/queue/a", confirm=True)
        assert threading.active_count() == before


def test_a_client_that_is_forgotten_keeps_no_connection(broker):
    client = PublishClient(*broker.address)
    client.connect()
    del client
    assert broker.wait_until(lambda: broker.sessions == 0)


def _in_a_child(work) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestFork:
    @pytest.fixture
    def script(self):
        """Answers every receipt, and remembers per connection what came."""
        self.seen: list[list[Frame]] = []

        def script(peer):
            frames: list[Frame] = []
            self.seen.append(frames)
            peer.accept()
            while True:
                frame = peer.frame()
                frames.append(frame)
                if "receipt" in frame.headers:
                    peer.receipt(frame)

        return script

    @pytest.mark.parametrize(
        "work",
        [
            lambda client: client.send("/queue/a", b"child", confirm=True),
            lambda client: client.disconnect(),
            lambda client: client.__exit__(None, None, None),
            lambda client: client.close(),
            lambda client: client.connected,
        ],
        ids=["send", "disconnect", "with", "close", "connected"],
    )
    def test_a_child_says_nothing_on_the_parent_s_connection(self, open_client, script, work):
        client = open_client(script)
        client.send("/queue/a", b"parent", confirm=True)

        def child():
            work(client)
            client.close()

        assert _in_a_child(child) == 0
        client.send("/queue/a", b"parent again", confirm=True)
        assert [frame.body for frame in self.seen[0]] == [b"parent", b"parent again"]
        assert [frame.body for frames in self.seen[1:] for frame in frames if frame.body] in ([], [b"child"])

    def test_a_call_that_another_thread_had_begun_does_not_lock_the_child_s_client(self, broker, client):
        client.connect()
        broker.faults.mute("SEND")

        def wait_in_vain():
            with pytest.raises(ConnectionLost):
                client.send("/queue/a", b"parent", confirm=True)

        thread = threading.Thread(target=wait_in_vain)
        thread.start()
        assert broker.wait_until(lambda: broker.received("SEND"))
        assert _in_a_child(lambda: (client.send("/queue/a", b"child", confirm=True), client.close())) == 0
        broker.faults.close_connections()
        thread.join(120)
        assert sorted(frame.body for frame in broker.messages("/queue/a")) == [b"child", b"parent"]

    def test_the_child_s_client_is_refused_to_a_second_thread_as_the_parent_s_is(self, broker, client):
        broker.faults.mute("SEND", after=1)
        client.connect()

        def child():
            client.send("/queue/a", b"first", confirm=True)
            thread = threading.Thread(target=lambda: client.send("/queue/a", b"second", confirm=True))
            thread.daemon = True
            thread.start()
            assert eventually(lambda: not client.state.claims)
            with pytest.raises(StompError, match="one thread at a time"):
                client.send("/queue/a", b"third")

        assert _in_a_child(child) == 0
