"""`Frame`: a value. Its equality, its repr, and that it shares nothing."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from stomp_web.protocol import CLIENT_COMMANDS, COMMANDS, COMMANDS_WITH_BODY, SERVER_COMMANDS, Frame


def test_a_frame_is_made_of_a_command_headers_and_a_body() -> None:
    frame = Frame("SEND", {"destination": "/queue/a"}, b"hello")

    assert frame.command == "SEND"
    assert frame.headers == {"destination": "/queue/a"}
    assert frame.body == b"hello"


def test_headers_and_body_may_be_left_out() -> None:
    frame = Frame("DISCONNECT")

    assert frame.headers == {}
    assert frame.body == b""


def test_two_frames_without_headers_do_not_share_a_dict() -> None:
    first, second = Frame("DISCONNECT"), Frame("DISCONNECT")
    first.headers["receipt"] = "1"

    assert second.headers == {}


def test_the_callers_dict_is_neither_kept_nor_changed() -> None:
    given = {"a": "1"}
    frame = Frame("SEND", given)
    frame.headers["b"] = "2"
    given["c"] = "3"

    assert given == {"a": "1", "c": "3"}
    assert frame.headers == {"a": "1", "b": "2"}


def test_frames_are_equal_when_command_headers_and_body_are() -> None:
    assert Frame("SEND", {"a": "1", "b": "2"}, b"x") == Frame("SEND", {"b": "2", "a": "1"}, b"x")


@pytest.mark.parametrize(
    "other",
    [
        Frame("MESSAGE", {"a": "1"}, b"x"),
        Frame("SEND", {"a": "2"}, b"x"),
        Frame("SEND", {"a": "1"}, b"y"),
        "SEND",
        None,
    ],
    ids=["command", "headers", "body", "a string", "None"],
)
def test_frames_differ_when_one_part_does(other: object) -> None:
    assert Frame("SEND", {"a": "1"}, b"x") != other


def test_content_length_takes_no_part_in_equality() -> None:
    assert Frame("SEND", {"a": "1", "content-length": "1"}, b"x") == Frame("SEND", {"a": "1"}, b"x")


def test_a_frame_has_no_hash_because_it_can_be_changed() -> None:
    with pytest.raises(TypeError):
        hash(Frame("SEND"))


def test_repr_shows_command_headers_and_the_bodys_length() -> None:
    assert repr(Frame("SEND", {"destination": "/queue/a"}, b"hello")) == (
        "<Frame SEND {'destination': '/queue/a'} with 5 bytes>"
    )


@pytest.mark.parametrize("name", ["passcode", "Passcode", "password", "authorization", "token"])
def test_repr_hides_secrets(name: str) -> None:
    shown = repr(Frame("CONNECT", {"login": "guest", name: "s3cret"}))

    assert "s3cret" not in shown
    assert "guest" in shown


def test_repr_does_not_show_the_body() -> None:
    assert "s3cret" not in repr(Frame("SEND", {}, b"s3cret"))


@pytest.mark.parametrize(
    "frame",
    [Frame("SEND", {1: "x"}), Frame("SEND", {"a": None}), Frame("SEND", {}, None), Frame(None)],  # type: ignore[dict-item, arg-type]
    ids=["name", "value", "body", "command"],
)
def test_repr_of_a_frame_with_a_wrong_type_in_it_still_says_something(frame: Frame) -> None:
    assert repr(frame).startswith("<Frame ")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_frame_can_be_pickled(protocol: int) -> None:
    frame = Frame("MESSAGE", {"a": "1", "content-length": "4"}, b"\0\n\xff:")
    again = pickle.loads(pickle.dumps(frame, protocol))

    assert (again.command, again.headers, again.body) == (frame.command, frame.headers, frame.body)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_frame_has_a_dict_of_its_own(duplicate: typing.Callable[[Frame], Frame]) -> None:
    frame = Frame("MESSAGE", {"a": "1"}, b"x")
    again = duplicate(frame)
    again.headers["b"] = "2"

    assert again == Frame("MESSAGE", {"a": "1", "b": "2"}, b"x")
    assert frame == Frame("MESSAGE", {"a": "1"}, b"x")


def test_the_commands_are_those_of_the_specification() -> None:
    assert {"CONNECTED", "MESSAGE", "RECEIPT", "ERROR"} == SERVER_COMMANDS
    assert {
        "CONNECT", "STOMP", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT",
    } == CLIENT_COMMANDS  # fmt: skip
    assert CLIENT_COMMANDS | SERVER_COMMANDS == COMMANDS
    assert {"SEND", "MESSAGE", "ERROR"} == COMMANDS_WITH_BODY
