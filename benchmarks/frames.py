"""The bytes that everybody sends and gets.

The raw contender writes what stomp-web writes for the same call, byte for byte, four headers and all
(`tests/benchmarks` compares them); so that a limit is a limit, and no shortcut.
"""

from __future__ import annotations

import json

DESTINATION = "/queue/bench"
#: A message for it lets the sink send what subscribers wait for.
GO = "/queue/go"
CONTENT_TYPE = "application/json"
MESSAGE_ID = "0f1e2d3c4b5a6978-1"
#: What every contender sends beside destination and content type.
HEADERS = {"x-message-id": MESSAGE_ID, "persistent": "true"}

CONNECT = b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:%b\n%bheart-beat:0,0\n\n\0"


def payload(size: int) -> dict[str, object]:
    """A small dict whose JSON has *size* bytes."""
    empty = {"id": 7, "text": ""}
    return {**empty, "text": "x" * (size - len(_dumps(empty)))}


def body(size: int) -> bytes:
    """The JSON of `payload`. It holds no NUL, so that the sink may count NULs."""
    return _dumps(payload(size)) if size else b""


def _dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def send_frame(size: int, receipt: str | None = None, destination: str = DESTINATION) -> bytes:
    """A SEND with a body of *size* bytes, ready to be written."""
    content = body(size)
    asked = b"" if receipt is None else b"receipt:%b\n" % receipt.encode()
    return b"SEND\ndestination:%b\nx-message-id:%b\npersistent:true\ncontent-type:%b\n%bcontent-length:%d\n\n%b\0" % (
        destination.encode(),
        MESSAGE_ID.encode(),
        CONTENT_TYPE.encode(),
        asked,
        len(content),
        content,
    )


def connect_frame(vhost: str = "/", login: str | None = None, passcode: str | None = None) -> bytes:
    """A CONNECT."""
    credentials = b"" if login is None else f"login:{login}\npasscode:{passcode or ''}\n".encode()
    return CONNECT % (vhost.encode(), credentials)


def message_frame(number: int, content: bytes, subscription: bytes = b"sub-1", ack: bool = False) -> bytes:
    """A MESSAGE as a broker sends it, with eight headers, or nine if it is to be acknowledged."""
    ack_header = b"ack:T_%b@@%d\n" % (subscription, number) if ack else b""
    return (
        b"MESSAGE\nsubscription:%b\ndestination:/queue/bench\nmessage-id:T_%b@@session-1@@%d\nredelivered:false\n"
        b"%bx-message-id:0f1e2d3c4b5a6978-%d\npersistent:true\ncontent-type:application/json\ncontent-length:%d\n\n%b\0"
    ) % (subscription, subscription, number, ack_header, number, len(content), content)


def message_frames(count: int, size: int, subscription: bytes = b"sub-1", ack: bool = False) -> list[bytes]:
    """*count* MESSAGE frames, each with an id of its own."""
    content = body(size)
    return [message_frame(number, content, subscription, ack) for number in range(1, count + 1)]


def receiving_destination(count: int, size: int) -> str:
    """A destination whose subscriber gets *count* messages of *size* bytes from the sink, after `GO`."""
    return f"/queue/receive.{count}.{size}"
