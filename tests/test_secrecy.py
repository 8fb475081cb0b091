"""Neither a passcode nor a body shows in what gets logged when something goes wrong.

Each case fails somewhere in the library. What an error reporter would keep of it - the exception, its causes, the local
variables of every frame of the library, and all log records - is searched for the secret and for the body.
"""

from __future__ import annotations

import logging
import pathlib
import socket
import traceback
import typing

import pytest

import stomp_web
from stomp_web import Frame, FrameBuffer, Message, PublishClient, PublishClientPool, Publisher, QueueingDuplexClient
from stomp_web.broker import Broker
from stomp_web.serializers import deserialize

PASSCODE = "correct-horse"
BODY = "battery-staple"
LIBRARY = str(pathlib.Path(stomp_web.__file__).parent)


def shown(value: object) -> str:
    """A local variable as a reporter of errors prints it; one that was not made to its end may have no repr."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001
        return f"<no repr: {error!r}>"


def kept(error: BaseException) -> str:
    """What a reporter of errors keeps: the texts, and the locals of the library's frames."""
    parts: list[str] = []
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        parts += [repr(current), str(current), repr(vars(current))]
        for frame, _ in traceback.walk_tb(current.__traceback__):
            if frame.f_code.co_filename.startswith(LIBRARY):
                parts += [f"{frame.f_code.co_name}.{name} = {shown(value)}" for name, value in frame.f_locals.items()]
        todo += [current.__cause__, None if current.__suppress_context__ else current.__context__]
    return "\n".join(parts)


def client(broker: Broker, **options: typing.Any) -> PublishClient:
    """A client that is closed at the end of the test."""
    made = PublishClient.from_url(broker.url, **options)
    _open.append(made)
    return made


def publisher(url: str, **options: typing.Any) -> Publisher:
    """A publisher that is closed at the end of the test."""
    made = Publisher(url, **options)
    _open.append(made)
    return made


_open: list[PublishClient | Publisher] = []


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wrong_login(broker: Broker) -> None:
    PublishClient("127.0.0.1", broker.port, login="guest", passcode=PASSCODE).send("/queue/a", BODY)


def wrong_login_of_a_publisher(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@127.0.0.1:{broker.port}").send("/queue/a", {"key": BODY})


def wrong_login_of_a_duplex_client(broker: Broker) -> None:
    QueueingDuplexClient("127.0.0.1", broker.port, login="guest", passcode=PASSCODE).connect()


def wrong_login_in_connect(broker: Broker) -> None:
    PublishClient("127.0.0.1", broker.port).connect("guest", PASSCODE)


def nobody_there(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@127.0.0.1:{closed_port()}").send("/queue/a", BODY)


def nobody_there_for_a_pickle(broker: Broker) -> None:
    publisher(f"stomp://guest@127.0.0.1:{closed_port()}", passcode=PASSCODE).send(
        "/queue/a", [BODY], serializer="pickle"
    )


def mute(broker: Broker) -> None:
    broker.faults.mute("CONNECT")
    publisher(f"stomp://guest:{PASSCODE}@127.0.0.1:{broker.port}", timeout=0.2).send("/queue/a", BODY)


def closed_before_the_receipt(broker: Broker) -> None:
    broker.faults.close_before_receipt()
    publisher(broker.url).send("/queue/a", BODY)


def closed_before_the_receipt_of_a_client(broker: Broker) -> None:
    broker.faults.close_before_receipt()
    client(broker).send("/queue/a", BODY.encode(), confirm=True)


def closed_before_the_receipts_of_a_batch(broker: Broker) -> None:
    broker.faults.close_before_receipt()
    publisher(broker.url).send_many([("/queue/a", BODY), Message("/queue/b", BODY)])


def no_receipt(broker: Broker) -> None:
    broker.faults.mute("SEND")
    client(broker).send("/queue/a", BODY, confirm=True, timeout=0.2)


def rejected(broker: Broker) -> None:
    broker.faults.error(on="SEND")
    publisher(broker.url).send("/queue/a", BODY)


def rejected_in_a_transaction(broker: Broker) -> None:
    broker.faults.error(on="SEND")
    with client(broker).transaction() as transaction:
        transaction.send("/queue/a", BODY)


def garbage_instead_of_a_receipt(broker: Broker) -> None:
    broker.faults.garbage(BODY.encode(), on="SEND")
    publisher(broker.url).send("/queue/a", 1)


def a_header_that_cannot_be(broker: Broker) -> None:
    client(broker).send("/queue/a", BODY, {"receipt": "1"})


def a_header_that_an_old_version_cannot_carry(broker: Broker) -> None:
    client(broker, versions=["1.0"]).send_many([Message("/queue/a", BODY), Message("/queue/a", BODY, {"x": "a\nb"})])


def a_body_of_a_wrong_type(broker: Broker) -> None:
    client(broker).send("/queue/a", [BODY])  # type: ignore[arg-type]


def an_empty_destination(broker: Broker) -> None:
    publisher(broker.url).send("", {"key": BODY})


def a_payload_without_a_json_form(broker: Broker) -> None:
    publisher(broker.url).send("/queue/a", {"key": BODY, "set": {1}})


def a_payload_that_cannot_be_pickled(broker: Broker) -> None:
    publisher(broker.url).send("/queue/a", (BODY, lambda: None), serializer="pickle")


def a_signature_without_a_key(broker: Broker) -> None:
    publisher(broker.url).send("/queue/a", BODY, serializer="signed-json")


def a_body_that_is_no_json(broker: Broker) -> None:
    deserialize(BODY.encode(), {"content-type": "application/json"})


def a_bad_signature(broker: Broker) -> None:
    headers = {"content-type": "application/json;signed=hmac-sha256", "x-signature": "no"}
    deserialize(BODY.encode(), headers, accept=["signed-json"], keys=[PASSCODE])


def an_unknown_option(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@localhost", passcode=PASSCODE, signing_keys=[PASSCODE], colour="red")


def an_unknown_option_of_a_client(broker: Broker) -> None:
    PublishClient.from_url(f"stomp://guest:{PASSCODE}@localhost", colour="red")


def an_unknown_option_of_a_pool(broker: Broker) -> None:
    PublishClientPool("stomp://localhost", login="guest", passcode=PASSCODE, colour="red")


def an_unknown_version(broker: Broker) -> None:
    PublishClient(login="guest", passcode=PASSCODE, versions=["9"])


def an_address_with_a_bad_port(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@localhost:port")


def a_passcode_that_connect_cannot_carry(broker: Broker) -> None:
    PublishClient("127.0.0.1", broker.port, login="guest", passcode=f"{PASSCODE}\n").send("/queue/a", BODY)


def a_passcode_of_a_wrong_type(broker: Broker) -> None:
    publisher(broker.url, passcode=[PASSCODE])


def received_bytes_that_are_no_stomp(broker: Broker) -> None:
    buffer = FrameBuffer()
    buffer.append(b"MESSAGE\ncontent-length:3\n\n" + BODY.encode() + b"\0")
    buffer.extract_frame()


CASES: list[typing.Callable[[Broker], None]] = [
    value
    for value in list(globals().values())
    if callable(value) and getattr(value, "__annotations__", {}) == {"broker": "Broker", "return": "None"}
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_neither_passcode_nor_body_is_shown(
    case: typing.Callable[[Broker], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Broker(login="guest", passcode="guest") as broker, pytest.raises(stomp_web.StompError) as caught:
        case(broker)
    while _open:
        _open.pop().close()
    text = kept(caught.value) + "\n" + caplog.text + "".join(repr(record.args) for record in caplog.records)
    for secret in (PASSCODE, BODY):
        lines = [line for line in text.splitlines() if secret in line]
        assert not lines, "\n".join(lines)


def test_there_are_cases() -> None:
    assert len(CASES) > 25


def test_no_repr_shows_a_passcode_or_a_body() -> None:
    publisher = Publisher(f"stomp://guest:{PASSCODE}@localhost", signing_keys=[PASSCODE])
    pool = PublishClientPool(f"stomp://guest:{PASSCODE}@localhost")
    client = PublishClient(login="guest", passcode=PASSCODE)
    frame = Frame("SEND", {"passcode": PASSCODE}, BODY.encode())
    for thing in (publisher, publisher.options, pool, client, frame, Message("/queue/a", BODY)):
        assert PASSCODE not in repr(thing)
        assert BODY not in repr(thing)
