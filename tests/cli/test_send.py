"""`stomp-web send` sends, and says what the broker confirmed."""

from __future__ import annotations

import io
import pickle
import sys

import pytest

from stomp_web import __version__
from stomp_web.broker import Broker
from stomp_web.cli import main


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The error, which is one line on standard error, and no traceback."""
    out, err = capsys.readouterr()
    assert err.startswith("stomp-web: ")
    assert err.count("\n") == 1
    assert out == ""
    return err.strip()


def test_it_prints_id_broker_and_what_was_confirmed(dev_broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "/queue/a", '{"id": 7}']) == 0
    [message] = dev_broker.messages("/queue/a")
    assert message.body == b'{"id":7}'
    assert message.headers["content-type"] == "application/json"
    sent, broker, confirmed = capsys.readouterr().out.splitlines()
    assert message.headers["x-message-id"] in sent
    assert dev_broker.url in broker
    assert f"stomp-web/{__version__}" in broker
    assert "with a receipt, after" in confirmed
    assert confirmed.endswith("s, connecting included")  # "ms", or "s" on a busy machine


@pytest.mark.parametrize(
    ("arguments", "body", "content_type"),
    [
        (["hello"], b"hello", "text/plain;charset=utf-8"),
        (["[1]", "--serializer", "text"], b"[1]", "text/plain;charset=utf-8"),
        (["x", "--serializer", "bytes"], b"x", "application/octet-stream"),
        (["", "--serializer", "text"], b"", "text/plain;charset=utf-8"),
    ],
)
def test_the_serializer_is_the_one_that_fits_or_was_asked_for(
    dev_broker: Broker, arguments: list[str], body: bytes, content_type: str
) -> None:
    assert main(["send", "/queue/a", *arguments]) == 0
    [message] = dev_broker.messages("/queue/a")
    assert (message.body, message.headers["content-type"]) == (body, content_type)


def test_json_can_be_sent_pickled(dev_broker: Broker) -> None:
    assert main(["send", "/queue/a", '{"id": 7}', "--serializer", "pickle"]) == 0
    assert pickle.loads(dev_broker.messages("/queue/a")[0].body) == {"id": 7}


def test_headers_are_added(dev_broker: Broker) -> None:
    assert main(["send", "/queue/a", "x", "--header", "priority=9", "--header", "note=a=b"]) == 0
    headers = dev_broker.messages("/queue/a")[0].headers
    assert (headers["priority"], headers["note"]) == ("9", "a=b")


def test_a_dash_reads_the_body_from_standard_input(dev_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "zwölf\n".encode())
    assert main(["send", "/queue/a", "-"]) == 0
    typed(monkeypatch, b"\xff\x00")
    assert main(["send", "/queue/a", "-", "--serializer", "bytes"]) == 0
    assert [message.body for message in dev_broker.messages("/queue/a")] == ["zwölf\n".encode(), b"\xff\x00"]


def test_bytes_that_are_no_text_need_the_serializer_for_them(
    dev_broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, b"\xff\x00")
    assert main(["send", "/queue/a", "-"]) == 1
    assert "--serializer bytes" in one_line(capsys)
    assert dev_broker.messages("/queue/a") == []


def test_it_sends_as_often_as_asked(dev_broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "/queue/a", "x", "--count", "3"]) == 0
    out = capsys.readouterr().out
    messages = dev_broker.messages("/queue/a")
    assert len(messages) == 3
    assert all(message.headers["x-message-id"] in out for message in messages)
    assert "with 3 receipts" in out


def test_a_failure_in_the_middle_says_how_many_were_sent(
    dev_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    dev_broker.faults.drop("SEND", after=2)
    assert main(["send", "/queue/a", "x", "--count", "5"]) == 1
    assert "2 of 5 messages were sent" in capsys.readouterr().err


def test_without_a_receipt_it_claims_nothing(dev_broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "/queue/a", "x", "--no-confirm"]) == 0
    assert "confirmed:  nothing" in capsys.readouterr().out
    assert "receipt" not in dev_broker.wait_for("/queue/a")[0].headers


def test_it_prints_nothing_of_a_broker_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "/queue/a", "x", "--url", "null://"]) == 0
    assert "confirmed:  nothing" in capsys.readouterr().out


def test_no_broker_is_one_line_that_says_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "/queue/a", "x", "--url", "stomp://127.0.0.1:1"]) == 1
    line = one_line(capsys)
    assert line.startswith("stomp-web: not sent: ")
    assert "stomp://127.0.0.1:1:" in line


def test_a_refusal_is_one_line_with_the_words_of_the_broker(
    dev_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", "/queue/denied", "x"]) == 1
    line = one_line(capsys)
    assert line.startswith("stomp-web: rejected: ")
    assert "/queue/denied" in line


def test_words_of_the_broker_cannot_control_the_terminal(
    dev_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    dev_broker.faults.error("SEND", "no\x1b]0;owned\x07", "two\nlines\x1b[2J")
    assert main(["send", "/queue/a", "x"]) == 1
    assert "\x1b" not in one_line(capsys)


def test_a_missing_receipt_is_one_line_that_says_unknown(
    dev_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    dev_broker.faults.mute("SEND")
    assert main(["send", "/queue/a", "x", "--timeout", "5"]) == 1
    assert one_line(capsys).startswith("stomp-web: delivery unknown: ")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["", "x"], "destination is empty"),
        (["/queue/a", "x", "--serializer", "jsn"], "there is no serializer 'jsn'"),
        (["/queue/a", "x", "--header", "receipt=1"], "receipt"),
        (["/queue/a", "x", "--header", "destination=/queue/b"], "destination"),
        (["/queue/a", "x", "--url", "http://localhost"], "stomp://"),
        (["/queue/a", "x", "--url", "amqp://localhost"], "stomp://"),
        (["/queue/a", "x", "--url", "null://?tiemout=1"], "did you mean timeout"),
    ],
)
def test_a_value_that_can_never_be_used_is_a_wrong_command_line(
    dev_broker: Broker, arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", *arguments]) == 2
    line = one_line(capsys)
    assert word in line
    assert line.endswith("(usage: stomp-web send --help)")
    assert dev_broker.received("SEND") == 0


def test_so_is_a_wrong_address_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOMP_URL", "amqp://localhost")
    assert main(["send", "/queue/a", "x"]) == main(["ping"]) == main(["listen", "/queue/a"]) == 2


def test_a_body_that_its_serializer_cannot_write_is_one_line(
    dev_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", "/queue/a", "{", "--serializer", "json"]) == 1
    assert "JSON" in one_line(capsys)
    assert dev_broker.received("SEND") == 0


@pytest.mark.parametrize("url", ["stomp://ada:s3cret@127.0.0.1:1", "stomp://127.0.0.1:1?passcode=s3cret"])
def test_a_passcode_on_the_command_line_is_warned_of_and_never_printed(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", "/queue/a", "x", "--url", url]) == 1
    out, err = capsys.readouterr()
    assert "warning" in err
    assert "STOMP_URL" in err
    assert "s3cret" not in out + err


def test_a_passcode_in_the_environment_is_where_it_should_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOMP_URL", "stomp://ada:s3cret@127.0.0.1:1")
    assert main(["send", "/queue/a", "x"]) == 1
    err = capsys.readouterr().err
    assert "warning" not in err
    assert "s3cret" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["send"],
        ["send", "/queue/a"],
        ["send", "/queue/a", "x", "--count", "0"],
        ["send", "/queue/a", "x", "--timeout", "0"],
        ["send", "/queue/a", "x", "--timeout", "nan"],
        ["send", "/queue/a", "x", "--header", "name"],
        ["send", "/queue/a", "x", "--unknown"],
        ["shout"],
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["send", "--help"], ["listen", "--help"]])
def test_help_and_version_end_with_0(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert __version__ in out or "STOMP_URL" in out or "COMMAND" in out
