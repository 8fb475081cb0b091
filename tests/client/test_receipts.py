"""However the bytes of the answers are cut, and in whatever order they come, each message has its own outcome."""

from __future__ import annotations

import itertools
import struct
import typing

import pytest

from stomp_web import (
    ConnectionLost,
    DeliveryUnknown,
    Frame,
    FrameBuffer,
    Message,
    MessageError,
    PublishClient,
    ReceiptTimeout,
    Rejected,
)
from stomp_web.connection.deadline import Deadline
from stomp_web.connection.session import Session, SessionSettings
from stomp_web.connection.transport import ESTABLISHED, Transport, TransportClosed
from stomp_web.protocol import encode
from tests.protocol.feeding import cut_at, sliced

#: What a broker writes before and behind each frame: RabbitMQ and ActiveMQ write a line feed behind it.
BETWEEN = {
    "nothing": (b"", b""),
    "a line feed behind": (b"", b"\n"),
    "a line feed before": (b"\n", b""),
    "several behind": (b"", b"\n\n\r\n"),
    "one before and one behind": (b"\n", b"\n"),
}
between = pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
#: How the connection ends behind the last byte.
ENDS = ("closed", "reset", "silence")


class Wire:
    """In the place of a `Transport`: what is read comes in *pieces*, each in a read of its own, and then the *end*."""

    stuck = False

    def __init__(self, pieces: typing.Iterable[bytes], end: str = "closed") -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.end = end
        self.bytes_sent = self.bytes_received = 0

    def send_some(self, data: bytes) -> int:
        self.bytes_sent += len(data)
        return len(data)

    def receive_some(self) -> bytes | None:
        return self.receive(None, 65_536)

    def receive(self, deadline: Deadline | None, size: int = 65_536) -> bytes | None:
        if not self.pieces:
            if self.end == "reset":
                raise TransportClosed("the broker reset the connection")
            return b"" if self.end == "closed" else None
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        self.bytes_received += len(piece[:size])
        return piece[:size]

    def ask(self, *_: int) -> bytes:
        """As the operating system: the connection is established, and no byte has come but those that were read."""
        return struct.pack("=B127xQ", ESTABLISHED, self.bytes_received)

    def close(self) -> None:
        self.pieces = []


def session_over(pieces: typing.Iterable[bytes], end: str = "closed") -> Session:
    """A session whose broker has said CONNECTED, and then says *pieces*."""
    wire = Wire([b"CONNECTED\nversion:1.2\n\n\0"])
    session = Session(typing.cast(Transport, wire), "stomp://broker", SessionSettings(), Deadline(30))
    wire.pieces, wire.end = [piece for piece in pieces if piece], end
    assert session.nothing_new()
    return session


def client_over(pieces: typing.Iterable[bytes], end: str = "closed") -> PublishClient:
    client = PublishClient(timeout=30.0)
    client.state.begin_session(session_over(pieces, end))
    return client


def receipt(number: int) -> bytes:
    return b"RECEIPT\nreceipt-id:%d\n\n\0" % number


def stream(frames: typing.Iterable[bytes], between: tuple[bytes, bytes]) -> bytes:
    return b"".join(between[0] + frame + between[1] for frame in frames)


def every_cut(data: bytes) -> typing.Iterator[list[bytes]]:
    """Whole, in two at each place, in three around each place, and in pieces of a few bytes."""
    yield [data]
    for position in range(1, len(data)):
        yield cut_at(data, [position])
    for position in range(1, len(data) - 1):
        yield cut_at(data, [position, position + 1])
    for size in (1, 2, 3, 7, 25, 26, 27):
        yield sliced(data, size)


def frames_in(data: bytes) -> list[Frame]:
    buffer = FrameBuffer("1.2")
    buffer.append(data)
    return list(buffer)


MESSAGE = encode(Frame("MESSAGE", {"destination": "/queue/b", "message-id": "1", "subscription": "s"}, b"a\0\nb"))
STREAMS = {
    "in order": [receipt(1), receipt(2), receipt(3)],
    "more digits": [receipt(9), receipt(10), receipt(11)],
    "out of order": [receipt(1), receipt(3), receipt(2)],
    "one twice": [receipt(1), receipt(1), receipt(2)],
    "one of another": [receipt(1), b"RECEIPT\nreceipt-id:12\n\n\0", receipt(2)],
    "another header": [receipt(1), b"RECEIPT\nreceipt-id:2\ncontent-length:0\n\n\0", receipt(3)],
    "carriage returns": [receipt(1), b"RECEIPT\r\nreceipt-id:2\r\n\r\n\0", receipt(3)],
    "a message": [receipt(1), MESSAGE, receipt(2)],
    "an error": [receipt(1), b"ERROR\nmessage:No\n\nno\0", receipt(2)],
    "more behind": [receipt(1), receipt(2), receipt(3), receipt(4), MESSAGE],
}


@between
@pytest.mark.parametrize("frames", STREAMS.values(), ids=STREAMS)
def test_what_is_taken_as_receipts_and_what_is_read_as_frames_is_all_that_came(frames, between):
    data = stream(frames, between)
    wanted = frames_in(data)
    first = int(wanted[0].headers["receipt-id"])
    for pieces in every_cut(data):
        session = session_over(pieces)
        taken = session.receipts_in_order(first, 3, Deadline(30))
        rest = []
        with pytest.raises(TransportClosed):  # noqa: PT012
            while True:
                rest.append(session.read_frame(Deadline(30)))
        receipts = [Frame("RECEIPT", {"receipt-id": str(first + position)}) for position in range(taken)]
        assert receipts + rest == wanted, pieces
        assert session.bytes_received >= len(data)


@between
@pytest.mark.parametrize("count", [1, 2, 3])
def test_receipts_in_order_are_taken_at_once_however_they_are_cut(between, count):
    data = stream(map(receipt, range(8, 8 + count)), between)
    for pieces in every_cut(data):
        if between[1] not in (b"", b"\n") and len(pieces) > 1:
            continue
        client = client_over(pieces)
        client.state.next_receipt = 8
        client.send_many([Message("/queue/a")] * count, confirm=True)
        assert client.state.is_reusable, pieces


@between
@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))), ids=str)
def test_every_order_confirms_every_message(order, between):
    data = stream(map(receipt, order), between)
    for pieces in every_cut(data):
        client = client_over(pieces)
        client.send_many([Message("/queue/a")] * 3, confirm=True)
        assert client.state.is_reusable, pieces


@between
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("order", [(1, 2, 3), (1, 3, 2), (3, 1, 2)], ids=str)
def test_where_the_connection_ends_in_the_middle_the_whole_receipts_count(order, end, between):
    data = stream(map(receipt, order), between)
    for length in range(len(data)):
        confirmed = sorted(int(frame.headers["receipt-id"]) - 1 for frame in frames_in(data[:length]))
        if len(confirmed) == 3:
            break
        for size in (length or 1, 1, 26):
            client = client_over(sliced(data[:length], size), end)
            with pytest.raises(DeliveryUnknown) as failure:
                client.send_many([Message("/queue/a")] * 3, confirm=True)
            assert type(failure.value) is (ReceiptTimeout if end == "silence" else ConnectionLost)
            assert failure.value.confirmed == tuple(confirmed), (length, size)
            assert client.state.session is None


@between
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("named", [True, False])
def test_an_error_is_the_answer_to_the_message_that_has_no_receipt(position, named, between):
    frames = [receipt(1), receipt(2), receipt(3)]
    name = b"receipt-id:%d\n" % (position + 1) if named else b""
    frames[position] = b"ERROR\nmessage:No right\n" + name + b"\n\0"
    confirmed = tuple(other for other in range(3) if other != position)
    data = stream(frames, between)
    for pieces in every_cut(data):
        client = client_over(pieces)
        with pytest.raises(Rejected, match="No right") as failure:
            client.send_many([Message("/queue/a")] * 3, confirm=True)
        assert failure.value.confirmed == confirmed, pieces
        assert client.state.session is None


@between
def test_an_error_after_which_the_connection_ends_leaves_the_others_unknown(between):
    frames = [receipt(1), b"ERROR\nmessage:No right\n\n\0", receipt(2)]
    data = stream(frames, between)
    whole = len(stream(frames[:2], between))
    for length in range(whole, len(data) - len(between[1])):
        for pieces in ([data[:length]], sliced(data[:length], 1), sliced(data[:length], 26)):
            with pytest.raises(MessageError, match="No right") as failure:
                client_over(pieces).send_many([Message("/queue/a")] * 3, confirm=True)
            assert type(failure.value) is ConnectionLost
            assert failure.value.confirmed == (0,), (length, pieces)


@between
def test_heart_beats_and_frames_that_belong_to_no_call_are_passed_over(between):
    for position, other in itertools.product(range(4), (b"\n", b"\r\n", b"\n\n\n", MESSAGE, receipt(99), receipt(0))):
        frames = [receipt(1), receipt(2), receipt(3)]
        frames.insert(position, other)
        data = stream(frames, between)
        for pieces in (
            [data],
            sliced(data, 1),
            sliced(data, 26),
            *(cut_at(data, [cut]) for cut in range(1, len(data))),
        ):
            client = client_over(pieces)
            client.send_many([Message("/queue/a")] * 3, confirm=True)
            assert client.state.is_reusable, pieces


def test_a_receipt_that_came_before_its_message_was_sent_is_no_answer_to_it(open_client):
    def script(peer):
        peer.accept()
        number = int(peer.expect("SEND").headers["receipt"])
        peer.write(receipt(number) + receipt(number + 1))
        peer.expect("SEND")

    client = open_client(script, confirm=True)
    client.send("/queue/a")
    with pytest.raises(ConnectionLost) as failure:
        client.send("/queue/a")
    assert failure.value.confirmed == ()


def test_many_receipts_of_a_large_batch_are_taken():
    data = stream(map(receipt, range(1, 5_001)), (b"", b"\n"))
    for size in (64, 1_000, 65_536, len(data)):
        client = client_over(sliced(data, size))
        client.send_many([Message("/queue/a")] * 5_000, confirm=True)
        assert client.state.is_reusable
