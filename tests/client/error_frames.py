"""ERROR frames as brokers have sent them, and whether each refuses the frame that was sent last.

Captured with a plain socket: a confirmed SEND (``receipt:1``), alone on its connection, and then what `situation` says.
"""

from __future__ import annotations

import dataclasses

from stomp_web.protocol import Frame


@dataclasses.dataclass(frozen=True)
class Captured:
    """`server` is that of CONNECTED; `refusal` whether the message was certainly not taken."""

    server: str
    situation: str
    frame: Frame
    refusal: bool

    @property
    def words(self) -> str:
        """How the broker's own words begin."""
        return self.frame.headers.get("message", self.frame.body.decode()).rstrip(".")

    def __str__(self) -> str:
        return f"{self.server}, {self.situation}"


def _rabbitmq(
    situation: str,
    message: str,
    body: str,
    refusal: bool,
    servers: tuple[str, ...] = ("RabbitMQ/3.10.8", "RabbitMQ/4.3.6"),
) -> list[Captured]:
    headers = {"message": message, "content-type": "text/plain", "version": "1.0,1.1,1.2"}
    return [Captured(server, situation, Frame("ERROR", headers, body.encode()), refusal) for server in servers]


def _named(server: str, situation: str, message: str, body: str = "") -> Captured:
    headers = {"content-type": "text/plain", "receipt-id": "1", "message": message}
    return Captured(server, situation, Frame("ERROR", headers, body.encode()), True)


_ARTEMIS = "ActiveMQ-Artemis/2.40.0 ActiveMQ Artemis Messaging Engine"
_DIED = "AMQP channel died"
_CLOSING = "Reason: {shutdown,\n            {connection_closing,"
_TRACE = "org.apache.activemq.transport.stomp.ProtocolException: "
_STEP = "\n\tat org.apache.activemq.transport.stomp.StompWireFormat.parseContentLength(StompWireFormat.java:297)"

CAPTURED = [
    *_rabbitmq(
        "/foo/bar",
        "Unknown destination",
        "'/foo/bar' is not a valid destination.\nValid destination types are: /temp-queue, /exchange, /topic, /queue, "
        "/amq/queue, /reply-queue/.\n",
        True,
    ),
    *_rabbitmq("no destination", "Missing destination", "\"SEND\" must include a 'destination' header\n", True),
    *_rabbitmq("/queue/a/b", "Invalid destination", "'/a/b' is not a valid queue destination\n", True),
    *_rabbitmq("/temp-queue/a", "Invalid destination", "'/temp-queue/a' is not a valid destination for 'SEND'\n", True),
    *_rabbitmq("unknown transaction", "Bad transaction", 'Invalid transaction identifier: "nope"\n', True),
    *_rabbitmq("no such exchange", "not_found", "NOT_FOUND - no exchange 'missing' in vhost '/'", True),
    *_rabbitmq("virtual host deleted", "not_found", "NOT_FOUND - no exchange '' in vhost 'tv'", True),
    *_rabbitmq(
        "no right to write",
        "access_refused",
        "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'reader'",
        True,
        ("RabbitMQ/3.10.8",),
    ),
    *_rabbitmq(
        "no right to write",
        "access_refused",
        "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'reader'",
        True,
        ("RabbitMQ/4.3.6",),
    ),
    *_rabbitmq(
        "over max_message_size",
        "precondition_failed",
        "PRECONDITION_FAILED - message size 70000 is larger than configured max size 65536",
        True,
    ),
    *_rabbitmq(
        "user-id of another",
        "precondition_failed",
        "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
        True,
    ),
    *_rabbitmq(
        "expiration:abc",
        "precondition_failed",
        "PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
        True,
    ),
    *_rabbitmq(
        "limit of queues",
        "precondition_failed",
        "PRECONDITION_FAILED - cannot declare queue 'c' in vhost '/': queue limit in vhost '/' (0) is reached",
        True,
    ),
    *_rabbitmq(
        "another connection's exclusive queue",
        "resource_locked",
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'excl' in vhost '/'. It could be originally "
        "declared on another connection or the exclusive property value does not match that of the original "
        "declaration.",
        True,
    ),
    *_rabbitmq("priority:abc", "Processing error", "Processing error", False),
    *_rabbitmq("close_all_connections", "Processing error", "Processing error", False),
    *_rabbitmq("close_all_connections", _DIED, _CLOSING + '{server_initiated_close,320,<<"trial">>}}}', False),
    *_rabbitmq(
        "delete_user",
        _DIED,
        _CLOSING + "\n                {server_initiated_close,320,\"user 'temp' is deleted\"}}}",
        False,
    ),
    *_rabbitmq("channel killed", _DIED, "Reason: killed", False),
    *_rabbitmq(
        "correlation-id of 300 bytes",
        _DIED,
        _CLOSING + "\n                {server_initiated_close,506,\n                    "
        '"failed to deliver message: content_properties_shortstr_overflow"}}}',
        False,
        ("RabbitMQ/4.3.6",),
    ),
    *_rabbitmq(
        "a consumer of the connection does not acknowledge",
        "precondition_failed",
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1800000 ms. This "
        "timeout value can be configured, see consumers doc guide to learn more",
        False,
    ),
    _named(
        "ActiveMQ/5.17.2",
        "no right to write",
        "User reader is not authorized to write to: queue://forbidden",
        "User reader is not authorized to write to: queue://forbidden",
    ),
    _named(
        "ActiveMQ/5.17.2",
        "unknown transaction",
        "Invalid transaction id: nope",
        f"{_TRACE}Invalid transaction id: nope{_STEP}",
    ),
    _named(
        "ActiveMQ/5.17.2",
        "another connection's temporary queue",
        "temp-queue://a",
        "org.apache.activemq.DestinationDoesNotExistException: The destination temp-queue://a does not exist.",
    ),
    Captured(
        "ActiveMQ/5.17.2",
        "no right to write, in a transaction",
        Frame("ERROR", {"message": "User reader is not authorized to write to: queue://forbidden"}),
        True,
    ),
    *(
        Captured(
            "ActiveMQ/5.17.2",
            situation,
            Frame("ERROR", {"content-type": "text/plain", "message": message}, f"{_TRACE}{message}{_STEP}".encode()),
            True,
        )
        for situation, message in (
            ("over maxFrameSize", "The maximum frame size was exceeded"),
            ("a header of 11,000 bytes", "The maximum header length was exceeded"),
        )
    ),
    _named(
        _ARTEMIS,
        "no right to write",
        "AMQ339011 Error sending message CoreMessage[messageID=29, durable=false, userID=null, priority=4, address="
        "forbidden, size=242]@3066563",
    ),
    _named(_ARTEMIS, "expires:abc", "AMQ339031 Error handling send"),
    *(
        Captured(
            _ARTEMIS,
            situation,
            Frame("ERROR", {"message": message} if message else {}, body.encode()),
            False,
        )
        for situation, message, body in (
            # Of 24 messages on their way, 18 were in the queue.
            ("closeConnectionsForUser", "AMQ229108: connections for user guest closed by management", ""),
            (
                "connection-ttl",
                "AMQ229014: Did not receive data from 127.0.0.1:40654 within the 3000ms connection TTL. The connection "
                "will now be closed.",
                "",
            ),
            ("queue destroyed", "", "consumer with ID ServerConsumerImpl [id=409] disconnected by server"),
        )
    ),
    _named(
        "ActiveMQ/6.3.1",
        "no right to write",
        "User reader is not authorized to write to: queue://forbidden",
        "User reader is not authorized to write to: queue://forbidden",
    ),
]
