"""Secrets do not show in what gets logged when something goes wrong.

Each case fails somewhere in the library. An error reporter keeps the exception, its causes, all log records, and the
local variables of every frame. Passcodes, keys and bodies are in none of the first three. Passcodes and keys are not in
the local variables of the library's frames, either; a body may be, as it is in those of the caller.
"""

from __future__ import annotations

import logging
import pathlib
import traceback
import typing

import pytest

import stomp_web
from stomp_web import Frame, FrameBuffer, Message, PublishClient, PublishClientPool, Publisher, QueueingDuplexClient
from stomp_web.broker import Broker
from stomp_web.serializers import deserialize, get_serializer
from stomp_web.wsgi import StompMiddleware, filter_factory
from tests.brokers.ports import free_ports

PASSCODE = "correct-horse"
BODY = "battery-staple"
LIBRARY = str(pathlib.Path(stomp_web.__file__).parent)


def chain(error: BaseException) -> list[BaseException]:
    """The *error* and those behind it, as a traceback shows them."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return found


def texts(error: BaseException) -> list[str]:
    """What the exceptions say."""
    return [
        text for current in chain(error) for text in (repr(current), str(current), *map(repr, vars(current).items()))
    ]


def local_variables(error: BaseException) -> list[str]:
    """The local variables of the library's frames, as an error reporter prints them."""
    return [
        f"{frame.f_code.co_name}.{name} = {printed(value)}"
        for current in chain(error)
        for frame, _ in traceback.walk_tb(current.__traceback__)
        if frame.f_code.co_filename.startswith(LIBRARY)
        for name, value in frame.f_locals.items()
    ]


def kept(error: BaseException) -> str:
    """All that an error reporter keeps of *error*."""
    return "\n".join([*texts(error), *local_variables(error)])


def printed(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - an object whose __init__ has failed may have no repr
        return f"<no repr: {error!r}>"


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
    (port,) = free_ports(1)
    return port


def wrong_login(broker: Broker) -> None:
    PublishClient("127.0.0.1", broker.port, login="guest", passcode=PASSCODE).send("/queue/a", BODY)


def wrong_login_of_a_publisher(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@127.0.0.1:{broker.port}").send("/queue/a", {"key": BODY})


def wrong_login_of_a_duplex_client(broker: Broker) -> None:
    QueueingDuplexClient("127.0.0.1", broker.port, login="guest", passcode=PASSCODE).connect()


def wrong_login_in_connect(broker: Broker) -> None:
    PublishClient("127.0.0.1", broker.port).connect("guest", PASSCODE)


def no_broker(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@127.0.0.1:{closed_port()}").send("/queue/a", BODY)


def no_broker_for_a_pickle(broker: Broker) -> None:
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


def a_signed_message_for_a_bad_destination(broker: Broker) -> None:
    publisher(broker.url, signing_keys=[PASSCODE]).send("\ud800", 1, serializer="signed-json")


def a_signed_message_for_a_destination_of_a_wrong_type(broker: Broker) -> None:
    publisher(broker.url, signing_keys=PASSCODE.encode()).send(7, 1, serializer="signed-json")  # type: ignore[arg-type]


def a_payload_that_cannot_be_serialized_with_a_key(broker: Broker) -> None:
    get_serializer("json").serialize({1}, destination="/queue/a", keys=[PASSCODE])


def a_payload_that_cannot_be_signed(broker: Broker) -> None:
    get_serializer("signed-json").serialize({1}, destination="/queue/a", keys=[PASSCODE])


def a_text_that_is_no_utf_8(broker: Broker) -> None:
    publisher(broker.url).send("/queue/a", f"{BODY}\ud800", serializer="text")


def a_body_that_is_no_utf_8(broker: Broker) -> None:
    deserialize(BODY.encode() + b"\xff", {"content-type": "text/plain"}, keys=[PASSCODE, PASSCODE.encode()])


def a_body_that_is_no_json(broker: Broker) -> None:
    deserialize(BODY.encode(), {"content-type": "application/json"})


def a_bad_signature(broker: Broker) -> None:
    headers = {"content-type": "application/json;signed=hmac-sha256", "x-signature": "no"}
    deserialize(BODY.encode(), headers, accept=["signed-json"], keys=[PASSCODE])


def an_unknown_option(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@localhost", passcode=PASSCODE, signing_keys=[PASSCODE], colour="red")


def an_unknown_option_of_a_client(broker: Broker) -> None:
    PublishClient.from_url(f"stomp://guest:{PASSCODE}@localhost", colour="red")


def a_passcode_under_the_name_of_another_library(broker: Broker) -> None:
    publisher(broker.url, login="guest", password=PASSCODE)


def an_address_under_the_name_of_another_library(broker: Broker) -> None:
    PublishClientPool("stomp://localhost", uri=f"stomp://guest:{PASSCODE}@localhost")


def an_unknown_option_of_a_pool(broker: Broker) -> None:
    PublishClientPool("stomp://localhost", login="guest", passcode=PASSCODE, colour="red")


def a_certificate_that_does_not_exist(broker: Broker) -> None:
    PublishClient(ssl=True, tls_cert="/no/such.pem", tls_key_password=PASSCODE)


def a_key_of_a_wrong_type(broker: Broker) -> None:
    publisher(broker.url, signing_keys=[PASSCODE, PASSCODE.encode(), 5])


def an_unknown_version(broker: Broker) -> None:
    PublishClient(login="guest", passcode=PASSCODE, versions=["9"])


def an_address_with_a_bad_port(broker: Broker) -> None:
    publisher(f"stomp://guest:{PASSCODE}@localhost:port")


def an_address_instead_of_a_publisher(broker: Broker) -> None:
    StompMiddleware(lambda *_: [], f"stomp://guest:{PASSCODE}@localhost")  # type: ignore[arg-type]


def a_bad_option_of_a_middleware(broker: Broker) -> None:
    filter_factory(None, url=f"stomp://guest:{PASSCODE}@localhost", timeout="soon")(lambda *_: [])


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
def test_no_passcode_key_or_body_is_told_and_no_passcode_or_key_is_in_a_local_variable(
    case: typing.Callable[[Broker], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Broker(login="guest", passcode="guest") as broker, pytest.raises(stomp_web.StompError) as caught:
        case(broker)
    while _open:
        _open.pop().close()
    told = [*texts(caught.value), *caplog.text.splitlines(), *(repr(record.args) for record in caplog.records)]
    assert [line for line in told if PASSCODE in line or BODY in line] == []
    assert [line for line in local_variables(caught.value) if PASSCODE in line] == []


def test_there_are_cases() -> None:
    assert len(CASES) > 25


def test_no_repr_shows_a_passcode_a_key_or_a_body() -> None:
    publisher = Publisher(f"stomp://guest:{PASSCODE}@localhost", signing_keys=[PASSCODE, PASSCODE.encode()])
    pool = PublishClientPool(f"stomp://guest:{PASSCODE}@localhost")
    client = PublishClient(login="guest", passcode=PASSCODE)
    frame = Frame("SEND", {"passcode": PASSCODE}, BODY.encode())
    body = get_serializer("json").serialize(BODY, destination="/queue/a")
    keys = publisher.options.signing_keys
    for thing in (publisher, publisher.options, keys, list(keys), pool, client, frame, body, Message("/queue/a", BODY)):
        assert PASSCODE not in repr(thing)
        assert BODY not in repr(thing)
