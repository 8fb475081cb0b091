"""The client's frames: the headers that each must have, by version, and what callers may not add."""

from __future__ import annotations

import typing

import pytest

from stomp_web.errors import InvalidFrame, InvalidFrameType
from stomp_web.protocol import COMMANDS_WITH_BODY, Frame, commands, encode

from .feeding import VERSIONS, read_one

MESSAGE = Frame("MESSAGE", {"destination": "/queue/a", "message-id": "m1", "subscription": "s1", "ack": "a1"}, b"x")


# -- CONNECT ---------------------------------------------------------------------------------------------------------


def test_connect_says_versions_and_host_and_heart_beat() -> None:
    frame = commands.connect(accept_version=("1.0", "1.1", "1.2"), host="/")

    assert frame == Frame("CONNECT", {"accept-version": "1.0,1.1,1.2", "host": "/", "heart-beat": "0,0"})


def test_connect_says_login_and_passcode_where_they_are_given() -> None:
    frame = commands.connect(accept_version=("1.2",), host="/", login="guest", passcode="", heart_beat=(500, 1000))

    assert frame.headers["login"] == "guest"
    assert frame.headers["passcode"] == ""
    assert frame.headers["heart-beat"] == "500,1000"


def test_a_colon_in_a_passcode_is_not_escaped() -> None:
    frame = commands.connect(accept_version=("1.2",), host="/", login="guest", passcode="a:b\\n")

    assert b"\npasscode:a:b\\n\n" in encode(frame)


def test_connect_takes_headers_of_the_callers() -> None:
    frame = commands.connect(accept_version=("1.2",), host="/", headers={"client-id": "abc"})

    assert frame.headers["client-id"] == "abc"


@pytest.mark.parametrize("name", ["accept-version", "host", "heart-beat", "login", "receipt", "content-length"])
def test_connect_takes_no_header_that_the_library_sets(name: str) -> None:
    """No receipt either: "Any client frame other than CONNECT MAY specify a receipt header"."""
    with pytest.raises(InvalidFrame, match=name):
        commands.connect(accept_version=("1.2",), host="/", login="guest", headers={name: "0"})


# -- SEND ------------------------------------------------------------------------------------------------------------


def test_send_has_a_destination_a_body_and_the_callers_headers() -> None:
    assert commands.send("/queue/a", b"x", {"priority": "9"}) == Frame(
        "SEND", {"destination": "/queue/a", "priority": "9"}, b"x"
    )


@pytest.mark.parametrize("name", ["content-length", "receipt", "destination"])
def test_send_refuses_reserved_headers_set_by_hand(name: str) -> None:
    with pytest.raises(InvalidFrame, match=name):
        commands.send("/queue/a", b"x", {name: "1"})


def test_the_callers_headers_are_not_changed() -> None:
    headers = {"priority": "9"}
    commands.send("/queue/a", b"x", headers).headers["more"] = "1"
    commands.subscribe("/queue/a", "1", headers=headers)

    assert headers == {"priority": "9"}


@pytest.mark.parametrize("destination", ["", " ", "\t\n"])
def test_an_empty_destination_is_refused(destination: str) -> None:
    with pytest.raises(InvalidFrame, match="destination"):
        commands.send(destination)
    with pytest.raises(InvalidFrame, match="destination"):
        commands.subscribe(destination, "1")


@pytest.mark.parametrize("destination", [None, b"/queue/a", 1, ["/queue/a"]])
def test_a_destination_of_a_wrong_type_is_refused(destination: typing.Any) -> None:
    with pytest.raises(InvalidFrameType, match="destination"):
        commands.send(destination)


@pytest.mark.parametrize("headers", [[("a", "b")], "ab", 5, {"a"}], ids=repr)
def test_headers_that_are_no_mapping_are_refused(headers: typing.Any) -> None:
    with pytest.raises(InvalidFrameType, match="mapping"):
        commands.send("/queue/a", headers=headers)


# -- SUBSCRIBE, UNSUBSCRIBE ------------------------------------------------------------------------------------------


def test_subscribe_has_an_id_a_destination_and_an_ack_mode() -> None:
    frame = commands.subscribe("/queue/a", "7", headers={"prefetch-count": "1"})

    assert frame == Frame("SUBSCRIBE", {"id": "7", "destination": "/queue/a", "ack": "auto", "prefetch-count": "1"})


@pytest.mark.parametrize("ack", ["auto", "client", "client-individual"])
def test_the_ack_modes_are_those_of_the_specification(ack: str) -> None:
    assert commands.subscribe("/queue/a", "7", ack).headers["ack"] == ack


@pytest.mark.parametrize("ack", ["", "Auto", "bogus", None])
def test_another_ack_mode_is_refused(ack: typing.Any) -> None:
    with pytest.raises(InvalidFrame, match="client-individual"):
        commands.subscribe("/queue/a", "7", ack)


@pytest.mark.parametrize("name", ["id", "destination", "ack", "receipt", "content-length"])
def test_subscribe_takes_no_header_that_the_library_sets(name: str) -> None:
    with pytest.raises(InvalidFrame, match=name):
        commands.subscribe("/queue/a", "7", headers={name: "1"})


def test_unsubscribe_has_the_id() -> None:
    assert commands.unsubscribe("7") == Frame("UNSUBSCRIBE", {"id": "7"})
    assert commands.unsubscribe("7", {"durable": "true"}).headers["durable"] == "true"
    with pytest.raises(InvalidFrame, match="id"):
        commands.unsubscribe("7", {"id": "8"})


# -- ACK, NACK -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.0", {"message-id": "m1", "subscription": "s1"}),
        ("1.1", {"message-id": "m1", "subscription": "s1"}),
        ("1.2", {"id": "a1"}),
    ],
)
def test_ack_names_the_message_as_the_version_wants(version: str, headers: dict[str, str]) -> None:
    assert commands.ack(MESSAGE, version) == Frame("ACK", headers)
    assert commands.ack(MESSAGE, version, transaction="t") == Frame("ACK", {**headers, "transaction": "t"})


@pytest.mark.parametrize(
    ("version", "headers"), [("1.1", {"message-id": "m1", "subscription": "s1"}), ("1.2", {"id": "a1"})]
)
def test_nack_takes_the_same_headers_as_ack(version: str, headers: dict[str, str]) -> None:
    assert commands.nack(MESSAGE, version, transaction="t") == Frame("NACK", {**headers, "transaction": "t"})


def test_nack_takes_what_a_broker_wants_beside_them() -> None:
    assert commands.nack(MESSAGE, "1.2", headers={"requeue": "false"}).headers["requeue"] == "false"


@pytest.mark.parametrize("name", ["id", "receipt", "content-length"])
def test_nack_takes_no_header_that_the_library_sets(name: str) -> None:
    with pytest.raises(InvalidFrame, match=name):
        commands.nack(MESSAGE, "1.2", headers={name: "0"})


def test_1_0_has_no_nack() -> None:
    with pytest.raises(InvalidFrame, match=r"1\.0"):
        commands.nack(MESSAGE, "1.0")


def test_1_0_acknowledges_a_message_without_a_subscription_header() -> None:
    assert commands.ack(Frame("MESSAGE", {"message-id": "m1"}), "1.0") == Frame("ACK", {"message-id": "m1"})


@pytest.mark.parametrize(("version", "missing"), [("1.0", "message-id"), ("1.1", "subscription"), ("1.2", "ack")])
def test_a_message_that_cannot_be_acknowledged_is_refused(version: str, missing: str) -> None:
    headers = {name: value for name, value in MESSAGE.headers.items() if name != missing}
    with pytest.raises(InvalidFrame, match=missing):
        commands.ack(Frame("MESSAGE", headers), version)


# -- the others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "command"), [(commands.begin, "BEGIN"), (commands.commit, "COMMIT"), (commands.abort, "ABORT")]
)
def test_begin_commit_and_abort_name_the_transaction(make: typing.Callable[[str], Frame], command: str) -> None:
    assert make("tx1") == Frame(command, {"transaction": "tx1"})


def test_disconnect_is_a_frame_of_its_own_each_time() -> None:
    first, second = commands.disconnect(), commands.disconnect()
    first.headers["receipt"] = "1"

    assert second == Frame("DISCONNECT")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_frame_of_a_client_can_be_written_and_read(version: str) -> None:
    frames = [
        commands.connect(accept_version=VERSIONS, host="/", login="a:b", passcode="c:d", heart_beat=(1, 2)),
        commands.send("/queue/a", b"\0", {"a": "b"}),
        commands.subscribe("/queue/a", "7", "client"),
        commands.ack(MESSAGE, version),
        commands.begin("t"),
        commands.commit("t"),
        commands.abort("t"),
        commands.unsubscribe("7"),
        commands.disconnect(),
    ]
    if version != "1.0":
        frames.append(commands.nack(MESSAGE, version))
    for frame in frames:
        assert read_one(encode(frame, version), version) == frame
        assert not frame.body or frame.command in COMMANDS_WITH_BODY
