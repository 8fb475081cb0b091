r"""The bytes of real brokers, as they stood on the wire.

RabbitMQ 3.10.8, ActiveMQ Classic 5.17.2, CoilMQ 1.1.0, Debian's stompserver 0.9.9. RabbitMQ, ActiveMQ and stompserver
send a line feed after the NUL of every frame, CoilMQ does not.
"""

from __future__ import annotations

import pytest

from stomp_web.protocol import Frame, FrameBuffer

from .feeding import ESCAPING, VERSIONS, parts, read, read_one, refuse

FRAMES: dict[str, tuple[bytes, Frame]] = {
    "RabbitMQ CONNECTED": (
        b"CONNECTED\nserver:RabbitMQ/3.10.8\nsession:session-cR6JhECf-1zboT128_mAiA\nheart-beat:0,0\nversion:1.2\n\n\x00\n",
        Frame(
            "CONNECTED",
            {
                "server": "RabbitMQ/3.10.8",
                "session": "session-cR6JhECf-1zboT128_mAiA",
                "heart-beat": "0,0",
                "version": "1.2",
            },
        ),
    ),
    "ActiveMQ CONNECTED, with raw colons": (
        b"CONNECTED\nserver:ActiveMQ/5.17.2\nheart-beat:0,0\nsession:ID:vm-32917-1795413071803-3:6\nversion:1.2\n\n\x00\n",
        Frame(
            "CONNECTED",
            {
                "server": "ActiveMQ/5.17.2",
                "heart-beat": "0,0",
                "session": "ID:vm-32917-1795413071803-3:6",
                "version": "1.2",
            },
        ),
    ),
    "ActiveMQ CONNECTED after a heart-beat": (
        b"\nCONNECTED\nserver:ActiveMQ/5.17.2\nheart-beat:500,0\nversion:1.2\n\n\x00\n",
        Frame("CONNECTED", {"server": "ActiveMQ/5.17.2", "heart-beat": "500,0", "version": "1.2"}),
    ),
    "ActiveMQ CONNECTED to a CONNECT with a receipt": (
        b"CONNECTED\nserver:ActiveMQ/5.17.2\nresponse-id:r1\nreceipt-id:r1\nversion:1.1\n\n\x00\n",
        Frame("CONNECTED", {"server": "ActiveMQ/5.17.2", "response-id": "r1", "receipt-id": "r1", "version": "1.1"}),
    ),
    "CoilMQ CONNECTED": (
        b"CONNECTED\nsession:b27458d6-385f-4e8a-8de6-d56c4c112fa0\nversion:1.2\nserver:coilmq/1.1.0\ncontent-length:0\n\n\x00",
        Frame(
            "CONNECTED",
            {"session": "b27458d6-385f-4e8a-8de6-d56c4c112fa0", "version": "1.2", "server": "coilmq/1.1.0"},
        ),
    ),
    "stompserver CONNECTED": (b"CONNECTED\nsession:wow\n\n\x00\n", Frame("CONNECTED", {"session": "wow"})),
    "RabbitMQ ERROR: wrong password": (
        b"ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\nversion:1.0,1.1,1.2\ncontent-length:32\n\n"
        b"Access refused for user 'guest'\n\x00\n",
        Frame(
            "ERROR",
            {"message": "Bad CONNECT", "content-type": "text/plain", "version": "1.0,1.1,1.2"},
            b"Access refused for user 'guest'\n",
        ),
    ),
    "ActiveMQ ERROR: wrong password": (
        b"ERROR\ncontent-type:text/plain\nmessage:User name [guest] or password is invalid.\n\n"
        b"User name [guest] or password is invalid.\x00\n",
        Frame(
            "ERROR",
            {"content-type": "text/plain", "message": "User name [guest] or password is invalid."},
            b"User name [guest] or password is invalid.",
        ),
    ),
    "CoilMQ ERROR: wrong password": (
        b"ERROR\nmessage:Authentication failed for guest\ncontent-length:31\n\nAuthentication failed for guest\x00",
        Frame("ERROR", {"message": "Authentication failed for guest"}, b"Authentication failed for guest"),
    ),
    "RabbitMQ ERROR: no common version": (
        b"ERROR\nmessage:Version mismatch\ncontent-type:text/plain\nversion:1.0,1.1,1.2\ncontent-length:35\n\n"
        b"Supported versions are 1.0,1.1,1.2\n\x00\n",
        Frame(
            "ERROR",
            {"message": "Version mismatch", "content-type": "text/plain", "version": "1.0,1.1,1.2"},
            b"Supported versions are 1.0,1.1,1.2\n",
        ),
    ),
    "CoilMQ ERROR: no common version": (
        b"ERROR\nmessage:Supported protocol versions are 1.0 1.1 1.2\ncontent-length:0\n\n\x00",
        Frame("ERROR", {"message": "Supported protocol versions are 1.0 1.1 1.2"}),
    ),
    "RabbitMQ ERROR: wrong vhost": (
        b"ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\nversion:1.0,1.1,1.2\ncontent-length:38\n\n"
        b"Virtual host 'localhost' access denied\x00\n",
        Frame(
            "ERROR",
            {"message": "Bad CONNECT", "content-type": "text/plain", "version": "1.0,1.1,1.2"},
            b"Virtual host 'localhost' access denied",
        ),
    ),
    "RabbitMQ ERROR: no destination": (
        b"ERROR\nmessage:Missing destination\ncontent-type:text/plain\nversion:1.0,1.1,1.2\ncontent-length:43\n\n"
        b"\"SEND\" must include a 'destination' header\n\x00\n",
        Frame(
            "ERROR",
            {"message": "Missing destination", "content-type": "text/plain", "version": "1.0,1.1,1.2"},
            b"\"SEND\" must include a 'destination' header\n",
        ),
    ),
    "ActiveMQ ERROR: no destination, with receipt-id and without content-length": (
        b"ERROR\ncontent-type:text/plain\nreceipt-id:r1\nmessage:SEND received without a Destination specified!\n\n"
        b"org.apache.activemq.transport.stomp.ProtocolException: SEND received without a Destination specified!\n"
        b"\x00\n",
        Frame(
            "ERROR",
            {
                "content-type": "text/plain",
                "receipt-id": "r1",
                "message": "SEND received without a Destination specified!",
            },
            b"org.apache.activemq.transport.stomp.ProtocolException: SEND received without a Destination specified!\n",
        ),
    ),
    "CoilMQ ERROR: no destination": (
        b"ERROR\nmessage:Missing destination for SEND command.\ncontent-length:37\n\n"
        b"Missing destination for SEND command.\x00",
        Frame(
            "ERROR",
            {"message": "Missing destination for SEND command."},
            b"Missing destination for SEND command.",
        ),
    ),
    "RabbitMQ ERROR: message too large": (
        b"ERROR\nmessage:precondition_failed\ncontent-type:text/plain\nversion:1.0,1.1,1.2\ncontent-length:89\n\n"
        b"PRECONDITION_FAILED - message size 134217729 is larger than configured max size 134217728\x00\n",
        Frame(
            "ERROR",
            {"message": "precondition_failed", "content-type": "text/plain", "version": "1.0,1.1,1.2"},
            b"PRECONDITION_FAILED - message size 134217729 is larger than configured max size 134217728",
        ),
    ),
    "RabbitMQ ERROR: subscription cancelled": (
        b"ERROR\nmessage:Server cancelled subscription\ncontent-type:text/plain\nversion:1.0,1.1,1.2\nsubscription:1\n"
        b"content-length:89\n\nThe server has canceled a subscription.\n"
        b"No more messages will be delivered for \"id='1'\".\n\x00\n",
        Frame(
            "ERROR",
            {
                "message": "Server cancelled subscription",
                "content-type": "text/plain",
                "version": "1.0,1.1,1.2",
                "subscription": "1",
            },
            b"The server has canceled a subscription.\nNo more messages will be delivered for \"id='1'\".\n",
        ),
    ),
    "RabbitMQ and ActiveMQ RECEIPT": (b"RECEIPT\nreceipt-id:r1\n\n\x00\n", Frame("RECEIPT", {"receipt-id": "r1"})),
    "CoilMQ RECEIPT": (b"RECEIPT\nreceipt-id:r1\ncontent-length:0\n\n\x00", Frame("RECEIPT", {"receipt-id": "r1"})),
    "RabbitMQ MESSAGE": (
        b"MESSAGE\nsubscription:s1\ndestination:/queue/q\n"
        b"message-id:T_s1@@session-YnKlWul8yCd6vvJY2jnw8g@@2\nredelivered:false\ncontent-length:22\n\n"
        b"text no content-length\x00\n",
        Frame(
            "MESSAGE",
            {
                "subscription": "s1",
                "destination": "/queue/q",
                "message-id": "T_s1@@session-YnKlWul8yCd6vvJY2jnw8g@@2",
                "redelivered": "false",
            },
            b"text no content-length",
        ),
    ),
    "CoilMQ MESSAGE": (
        b"MESSAGE\ndestination:/queue/q\nmessage-id:04fa1994-385f-4e8a-8de6-d56c4c112fa0\nsubscription:s1\n"
        b"content-length:22\n\ntext no content-length\x00",
        Frame(
            "MESSAGE",
            {
                "destination": "/queue/q",
                "message-id": "04fa1994-385f-4e8a-8de6-d56c4c112fa0",
                "subscription": "s1",
            },
            b"text no content-length",
        ),
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FRAMES)
def test_what_real_brokers_send_is_read_in_every_version(name: str, version: str) -> None:
    data, frame = FRAMES[name]

    assert read_one(data, version) == frame


@pytest.mark.parametrize("version", VERSIONS)
def test_all_of_it_in_one_stream(version: str) -> None:
    """Beats are put between them as RabbitMQ does: a line feed whenever half of the interval is over."""
    stream = b"\n".join(data for data, _ in FRAMES.values())

    assert read(stream, version) == [frame for _, frame in FRAMES.values()]


ACTIVEMQ_MESSAGE = (
    b"MESSAGE\nexpires:0\ndestination:/queue/q\nsubscription:s1\npriority:4\n"
    b"message-id:ID\\cvm-32917-1795413071803-3\\c71\\c-1\\c1\\c2\ntimestamp:1795413120124\n\n"
    b"text no content-length\x00\n"
)


@pytest.mark.parametrize("version", ESCAPING)
def test_activemq_escapes_its_message_id(version: str) -> None:
    frame = read_one(ACTIVEMQ_MESSAGE, version)

    assert frame.headers["message-id"] == "ID:vm-32917-1795413071803-3:71:-1:1:2"
    assert frame.body == b"text no content-length"


@pytest.mark.parametrize("version", ESCAPING)
def test_activemq_escapes_the_message_of_its_errors(version: str) -> None:
    frame = read_one(b"ERROR\nreceipt-id:r1\nmessage:Invalid transaction id\\c nope\n\n...\x00\n", version)

    assert frame.headers["message"] == "Invalid transaction id: nope"


@pytest.mark.parametrize("version", VERSIONS)
def test_rabbitmq_does_not_escape_its_message_id(version: str) -> None:
    """It is made of the subscription's id, here "my id:1"; the header `subscription` is escaped."""
    data = b"MESSAGE\nsubscription:my id\\c1\nmessage-id:T_my id:1@@session-YnKlWul8yCd6vvJY2jnw8g@@1\n\nx\x00\n"
    headers = read_one(data, version).headers

    assert headers["message-id"] == "T_my id:1@@session-YnKlWul8yCd6vvJY2jnw8g@@1"
    assert headers["subscription"] == ("my id\\c1" if version == "1.0" else "my id:1")


def test_rabbitmq_escapes_colons_even_in_1_0_where_they_stay_as_they_are() -> None:
    assert read_one(b"MESSAGE\nrawcolon:a\\cb\\cc\n\nx\x00\n", "1.0").headers == {"rawcolon": "a\\cb\\cc"}


@pytest.mark.parametrize("version", ESCAPING)
def test_headers_as_rabbitmq_and_activemq_give_them_back(version: str) -> None:
    data = (
        b"MESSAGE\ncolon:a\\cb\nnl:a\\nb\nbs:a\\\\b\nk\\cey:v\nutf8:h\xc3\xa9\xe4\xb8\x96\xf0\x9f\x98\x80\n"
        b"space: lead and trail \nempty:\ndup:first\ndup:second\nrawcolon:a\\cb\\cc\n\nx\x00\n"
    )

    assert read_one(data, version).headers == {
        "colon": "a:b",
        "nl": "a\nb",
        "bs": "a\\b",
        "k:ey": "v",
        "utf8": "hé世😀",
        "space": " lead and trail ",
        "empty": "",
        "dup": "first",
        "rawcolon": "a:b:c",
    }


def test_a_line_feed_that_activemq_lets_into_a_1_0_header_is_no_header() -> None:
    r"""To a 1.0 client it sends `lit:a\nb\\c` decoded, with a line feed inside the header block."""
    assert "colon" in refuse(b"MESSAGE\nlit:a\nb\\c\n\nx\x00\n", "1.0")


def test_a_binary_message_comes_with_its_length_and_every_byte() -> None:
    body = bytes(range(256)) + b"\x00" * 5
    data = b"MESSAGE\nexpires:0\ncontent-length:261\nsubscription:s1\n\n" + body + b"\x00\n"

    assert read_one(data).body == body


@pytest.mark.parametrize(
    "alert", [b"\x15\x03\x01\x00\x02\x02\n", b"\x15\x03\x03\x00\x02\x02\n"], ids=["RabbitMQ", "ActiveMQ"]
)
def test_the_answer_of_a_tls_port_is_refused(alert: bytes) -> None:
    assert "command" in refuse(alert)


def test_the_handshake_and_what_follows_it_may_come_in_one_piece() -> None:
    """CONNECTED to a 1.1 client and a MESSAGE behind it: the version is set between the two."""
    connected, _ = FRAMES["ActiveMQ CONNECTED to a CONNECT with a receipt"]
    buffer = FrameBuffer()
    buffer.append(connected + ACTIVEMQ_MESSAGE)
    first = buffer.extract_frame()
    assert first is not None
    buffer.version = first.headers["version"]
    second = buffer.extract_frame()

    assert second is not None
    assert parts(second)[2] == b"text no content-length"
    assert buffer.version == "1.1"
