"""Clients without a pool, in a parent and its child."""

from __future__ import annotations

import threading
import time
import typing

import pytest

from stomp_web import PublishClient, StompError
from stomp_web.client import QueueingDuplexClient
from tests.fork.family import Gate, forked, in_a_child
from tests.fork.wire import PATIENCE


@pytest.mark.parametrize("broker", ["tcp", "tls"], indirect=True)
class TestPublishClient:
    def test_a_child_opens_a_connection_of_its_own(self, broker, wire, address):
        def child():
            at_once = wire.connections() & inherited
            client.send("/queue/orders", b"child", confirm=True)
            client.send("/queue/orders", b"child", confirm=True)
            return at_once, wire.connections() & inherited

        with PublishClient.from_url(address) as client:
            client.send("/queue/orders", b"parent", confirm=True)
            inherited, before = wire.connections(), wire.links[0].bytes
            assert in_a_child(child) == (set(), set())
            assert (wire.links[0].bytes, wire.links[0].ended) == (before, False)
            client.send("/queue/orders", b"parent", confirm=True)
        assert len(broker.messages("/queue/orders")) == 4
        assert broker.connections_accepted == 2

    def test_the_end_of_its_block_in_a_child_says_nothing_to_the_broker(self, broker, wire, address):
        with PublishClient.from_url(address) as client:
            client.send("/queue/orders", b"1", confirm=True)
            before = wire.links[0].bytes
            in_a_child(lambda: client.__exit__(None, None, None))
            assert (wire.links[0].bytes, wire.links[0].ended) == (before, False)
            client.send("/queue/orders", b"2", confirm=True)
        assert broker.received("DISCONNECT") == 1
        assert broker.connections_accepted == 1


class TestDuplexClient:
    """It has subscriptions and a loop, which no child can go on with: every call says so, and nothing waits."""

    @pytest.fixture
    def client(self, address):
        client = QueueingDuplexClient.from_url(address)
        client.connect()
        yield client
        client.close()

    @pytest.fixture
    def listening(self, client):
        client.subscribe("/queue/orders")
        thread = threading.Thread(target=client.listen_forever, daemon=True)
        thread.start()
        assert client.listening_event.wait(PATIENCE)
        yield client
        client.shutdown_event.set()
        thread.join(120)
        assert not thread.is_alive()

    CALLS: typing.ClassVar[dict[str, typing.Callable[[QueueingDuplexClient], object]]] = {
        "connect": lambda client: client.connect(),
        "send": lambda client: client.send("/queue/orders", b"child"),
        "confirmed send": lambda client: client.send("/queue/orders", b"child", confirm=True),
        "subscribe": lambda client: client.subscribe("/queue/orders"),
        "receive": lambda client: client.receive(),
        "process": lambda client: client.process(),
        "fileno": lambda client: client.fileno(),
        "begin": lambda client: client.begin(),
        "listen_forever": lambda client: client.listen_forever(),
    }

    @pytest.mark.parametrize("fixture", ["client", "listening"])
    def test_every_call_in_a_child_is_refused_at_once_and_says_why(self, broker, wire, fixture, request):
        client = request.getfixturevalue(fixture)

        def child():
            at_once = wire.connections() & inherited
            words = {}
            began = time.monotonic()
            for name, call in self.CALLS.items():
                with pytest.raises(StompError) as refused:
                    call(client)
                words[name] = str(refused.value)
            return words, client.connected, time.monotonic() - began, at_once, wire.connections() & inherited

        inherited, before = wire.connections(), wire.links[0].bytes
        words, connected, seconds, *still_open = in_a_child(child)
        for name in self.CALLS:
            assert "before a fork" in words[name], name
        assert not connected
        assert seconds < 30
        assert still_open == [set(), set()]
        assert (wire.links[0].bytes, wire.links[0].ended) == (before, False)
        client.send("/queue/parent", b"parent", confirm=True)
        assert broker.connections_accepted == 1

    @pytest.mark.parametrize("end", ["close", "disconnect"])
    @pytest.mark.parametrize("held", [False, True], ids=["", "while the lock is held"])
    def test_its_end_in_a_child_does_not_wait_and_leaves_the_parent_in_peace(self, broker, wire, client, end, held):
        gate = Gate()
        before = wire.links[0].bytes
        if held:
            client._driver.lock.acquire()
        try:
            child = forked(getattr(client, end), gate)
            began = time.monotonic()
            child.report()
            assert time.monotonic() - began < 30
        finally:
            if held:
                client._driver.lock.release()
            gate.open()
        child.join()
        assert (wire.links[0].bytes, wire.links[0].ended) == (before, False)
        client.send("/queue/orders", b"parent", confirm=True)
        assert broker.connections_accepted == 1

    def test_the_parents_loop_goes_on(self, broker, listening):
        in_a_child(listening.close)
        with PublishClient(*broker.address) as sender:
            sender.send("/queue/orders", b"after the fork", confirm=True)
        assert listening.receive(PATIENCE).body == b"after the fork"

    def test_one_that_was_never_connected_works_in_a_child(self, address, broker):
        client = QueueingDuplexClient.from_url(address)

        def child():
            client.connect()
            client.subscribe("/queue/orders")
            client.send("/queue/orders", b"mine", confirm=True)
            return client.receive(PATIENCE).body

        assert in_a_child(child) == b"mine"
