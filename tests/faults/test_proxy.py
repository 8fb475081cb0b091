"""The proxy itself: a fault suite is worth what its faults are worth."""

from __future__ import annotations

import contextlib
import socket
import typing

import pytest

from stomp_web.protocol import Frame, encode
from tests.faults.clock import in_time
from tests.faults.proxy import DOWN, PATIENCE, UP, Proxy

SEND = encode(Frame("SEND", {"destination": "/queue/a"}, b"12345"))
RECEIPT = encode(Frame("RECEIPT", {"receipt-id": "1"}))


class Ends:
    """Both ends of a proxied connection."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(PATIENCE)
        self.proxy = Proxy("127.0.0.1", self.server.getsockname()[1])
        self.clients: list[socket.socket] = []

    def client(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE)
        self.clients.append(client)
        return client

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.client()
        broker, _ = self.server.accept()
        broker.settimeout(PATIENCE)
        self.clients.append(broker)
        return client, broker


@pytest.fixture
def ends() -> typing.Iterator[Ends]:
    ends = Ends()
    with contextlib.closing(ends.server), ends.proxy:
        yield ends
    for client in ends.clients:
        client.close()


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def nothing(sock: socket.socket) -> bool:
    sock.settimeout(0.05)
    try:
        return not sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(PATIENCE)


def test_it_passes_both_ways_and_counts(ends: Ends):
    client, broker = ends.pair()
    client.sendall(SEND + b"\n" + SEND)
    assert read(broker, 2 * len(SEND) + 1) == SEND + b"\n" + SEND
    broker.sendall(RECEIPT)
    assert read(client, len(RECEIPT)) == RECEIPT
    assert ends.proxy.connections == ends.proxy.open == 1
    assert ends.proxy.frames == {(UP, "SEND"): 2, (DOWN, "RECEIPT"): 1}
    assert ends.proxy.bytes == {UP: 2 * len(SEND) + 1, DOWN: len(RECEIPT)}


def test_the_end_of_one_side_is_passed_to_the_other(ends: Ends):
    client, broker = ends.pair()
    broker.sendall(RECEIPT)
    broker.close()
    assert read(client, 1000) == RECEIPT
    assert ends.proxy.wait_for(lambda: not ends.proxy.open)


def test_a_cut_is_an_end_of_file_and_a_reset_is_an_error(ends: Ends):
    client, broker = ends.pair()
    ends.proxy.cut()
    assert client.recv(1) == b"" == broker.recv(1)
    client, broker = ends.pair()
    ends.proxy.cut(reset=True)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert broker.recv(1) == b""


@pytest.mark.parametrize("forward", [True, False])
def test_it_cuts_at_a_frame_which_passes_or_not(ends: Ends, forward: bool):
    client, broker = ends.pair()
    trap = ends.proxy.on_frame("SEND", after=1, forward=forward)
    client.sendall(SEND[:7])
    client.sendall(SEND[7:] + SEND + SEND)
    assert read(broker, 1000) == SEND * (1 + forward)
    assert read(client, 1) == b""
    assert trap.fired == 1


@pytest.mark.parametrize("way", [UP, DOWN])
def test_it_cuts_after_any_number_of_bytes(ends: Ends, way: typing.Any):
    client, broker = ends.pair()
    source, sink = (client, broker) if way == UP else (broker, client)
    ends.proxy.on_bytes(5, way=way)
    source.sendall(SEND[:3])
    source.sendall(SEND[3:])
    assert read(sink, 1000) == SEND[:5]


def test_a_frozen_way_stands_still_until_it_is_thawed(ends: Ends):
    client, broker = ends.pair()
    ends.proxy.freeze(DOWN)
    client.sendall(SEND)
    assert read(broker, len(SEND)) == SEND
    broker.sendall(RECEIPT)
    assert nothing(client)
    ends.proxy.thaw()
    assert read(client, len(RECEIPT)) == RECEIPT


def test_what_is_swallowed_never_arrives(ends: Ends):
    client, broker = ends.pair()
    ends.proxy.swallow(UP)
    client.sendall(SEND)
    assert ends.proxy.wait_for(lambda: ends.proxy.frames[UP, "SEND"])
    ends.proxy.clear()
    client.sendall(RECEIPT)
    assert read(broker, len(RECEIPT)) == RECEIPT


def test_it_delays_and_dribbles(ends: Ends):
    client, broker = ends.pair()
    ends.proxy.delay(0.05, UP)
    with in_time(PATIENCE, at_least=0.05):
        client.sendall(SEND)
        assert read(broker, len(SEND)) == SEND
    ends.proxy.clear()
    ends.proxy.dribble(UP, interval=0.002)
    with in_time(PATIENCE, at_least=0.002 * (len(SEND) - 1)):
        client.sendall(SEND)
        assert read(broker, len(SEND)) == SEND


def test_it_refuses_in_three_ways_and_can_be_mute(ends: Ends):
    ends.proxy.refuse()
    assert ends.client().recv(1) == b""
    ends.proxy.refuse(reset=True)
    with pytest.raises(ConnectionResetError):
        ends.client().recv(1)
    ends.proxy.mute()
    mute = ends.client()
    mute.sendall(SEND)
    assert ends.proxy.wait_for(lambda: ends.proxy.frames[UP, "SEND"] == 1)
    assert nothing(mute)
    ends.proxy.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        ends.client()
    ends.proxy.listen_again()
    client, broker = ends.pair()
    client.sendall(SEND)
    assert read(broker, len(SEND)) == SEND


def test_a_broker_that_is_away_is_an_end_of_file(ends: Ends):
    ends.server.close()
    assert ends.client().recv(1) == b""


def test_bytes_that_are_not_stomp_pass_as_well(ends: Ends):
    client, broker = ends.pair()
    data = bytes(range(256)) * 500
    client.sendall(data)
    assert read(broker, len(data)) == data
