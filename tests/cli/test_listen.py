"""`stomp-web listen` prints what arrives, without harm to the terminal or to the messages."""

from __future__ import annotations

import datetime
import signal
import typing

import pytest

from stomp_web import Publisher, QueueingDuplexClient
from stomp_web.broker import Broker
from stomp_web.cli import main
from tests.cli.running import ended, line_with, program


@pytest.fixture
def publisher(dev_broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(dev_broker.url) as publisher:
        yield publisher


def listen(*arguments: str) -> int:
    return main(["listen", "/queue/a", "--timeout", "10", *arguments])


def test_a_message_is_printed_with_destination_headers_and_json(
    publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = publisher.send("/queue/a", {"id": 7, "name": "Zoë"}, {"note": "x"})
    assert listen("--count", "1") == 0
    out = capsys.readouterr().out
    assert "message 1: /queue/a, 22 bytes" in out
    assert f"x-message-id: {identity}\n" in out
    assert "note: x\n" in out
    assert '{\n  "id": 7,\n  "name": "Zoë"\n}' in out


def test_text_is_printed_as_it_is(publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    publisher.send("/queue/a", "one\n\ttwo 👨‍👩‍👧", serializer="text")
    assert listen("--count", "1") == 0
    assert "\n\none\n\ttwo 👨‍👩‍👧\n" in capsys.readouterr().out


def test_bytes_are_printed_as_a_table(publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    publisher.send("/queue/a", bytes(range(256)) * 3, serializer="bytes")
    assert listen("--count", "1") == 0
    out = capsys.readouterr().out
    assert "00000040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO" in out
    assert "... and 256 bytes more" in out


def test_a_pickle_is_not_read(publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    publisher.send("/queue/a", {"day": datetime.date(2026, 1, 2)}, serializer="pickle")
    assert listen("--count", "1") == 0
    out = capsys.readouterr().out
    assert "which was not read" in out
    assert "--accept pickle" in out
    assert "datetime.date(" not in out


def test_a_pickle_is_read_if_the_user_says_so(publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    publisher.send("/queue/a", {"day": datetime.date(2026, 1, 2)}, serializer="pickle")
    assert listen("--count", "1", "--accept", "pickle") == 0
    assert "{'day': datetime.date(2026, 1, 2)}" in capsys.readouterr().out


class _Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_payload_without_a_repr_is_printed_as_bytes(publisher: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    publisher.send("/queue/a", _Rude(), serializer="pickle")
    assert listen("--count", "1", "--accept", "pickle") == 0
    assert "(RuntimeError in the repr of the payload)" in capsys.readouterr().out


def test_a_signed_body_is_read_with_its_key_and_shown_without(
    dev_broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Publisher(dev_broker.url, signing_keys=["k1"]) as signer:
        for _ in range(2):
            signer.send("/queue/a", {"id": 7}, serializer="signed-json")
    assert listen("--count", "1") == 0
    assert 'needs a secret: set signing_keys)\n{"id":7}' in capsys.readouterr().out
    monkeypatch.setenv("STOMP_URL", f"{dev_broker.url}?signing_keys=k1&pool_size=3")
    assert listen("--count", "1") == 0
    assert '{\n  "id": 7\n}' in capsys.readouterr().out


def test_a_body_that_is_not_what_it_says_is_printed_as_it_came(
    publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.send("/queue/a", b"{no json", {"content-type": "application/json"}, serializer="bytes")
    publisher.send("/queue/a", b"<p>", {"content-type": "application/xhtml+xml"}, serializer="bytes")
    assert listen("--count", "2") == 0
    out = capsys.readouterr().out
    assert "cannot be read as json" in out
    assert "{no json" in out
    assert "\n\n<p>\n" in out


@pytest.mark.parametrize(
    ("payload", "serializer", "shown"),
    [
        ("a\x1b[2Jb", "text", "a\\x1b[2Jb"),
        ({"a": "\u202e\x9b1m"}, "json", '"\\u202e\\x9b1m"'),
        (b"a\x1b]0;owned\x07", "bytes", "61 1b 5d"),
    ],
)
def test_what_arrives_cannot_control_the_terminal(
    publisher: Publisher, payload: object, serializer: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.send("/queue/a", payload, {"rude": "\x1b[31m\nfake: header"}, serializer=serializer)
    assert listen("--count", "1") == 0
    out = capsys.readouterr().out
    assert shown in out
    assert "rude: \\x1b[31m\\nfake: header\n" in out
    assert not set(out) & set("\x1b\x07\x9b\u202e")


def test_only_what_was_printed_is_taken_from_the_queue(dev_broker: Broker, publisher: Publisher) -> None:
    for number in range(3):
        publisher.send("/queue/a", number)
    assert listen("--count", "1") == 0
    assert dev_broker.wait_until(lambda: not dev_broker.subscribers("/queue/a"))
    assert [frame.body for frame in dev_broker.pending("/queue/a")] == [b"1", b"2"]


@pytest.mark.parametrize("ack", ["auto", "client", "client-individual"])
def test_each_way_to_acknowledge_takes_the_message(dev_broker: Broker, publisher: Publisher, ack: str) -> None:
    publisher.send("/queue/a", 1)
    assert listen("--count", "1", "--ack", ack) == 0
    assert not dev_broker.pending("/queue/a")
    assert not dev_broker.unacknowledged("/queue/a")


def test_a_selection_of_headers_goes_to_the_broker(dev_broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", "/queue/a", "--timeout", "0.01", "--header", "no header"]) == 2
    assert main(["listen", "/queue/a", "--timeout", "0.01", "--header", "prefetch-count=x"]) == 1
    assert "prefetch-count" in capsys.readouterr().err


def test_it_ends_after_its_time(dev_broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", "/queue/a", "--timeout", "0.05"]) == 0
    assert capsys.readouterr().err == ""


def test_too_few_messages_are_a_failure(
    publisher: Publisher, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        """It stands still until the first message is printed, and is then past every end."""

        printed = ""

        def monotonic(self) -> float:
            self.printed += capsys.readouterr().out
            return 1000.0 if "message 1: /queue/a" in self.printed else 0.0

    monkeypatch.setattr("stomp_web.cli.listen.time", Clock())
    publisher.send("/queue/a", 1)
    assert main(["listen", "/queue/a", "--timeout", "0.1", "--count", "3"]) == 1
    assert capsys.readouterr().err == "stomp-web: only 1 of 3 messages came from /queue/a within 0.1 s\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--url", "stomp://127.0.0.1:1"], 1),
        (["--url", "memory://"], 2),
        (["--url", "stomp://127.0.0.1:1?tiemout=3"], 2),
        (["--header", "destination=/queue/b"], 2),
    ],
)
def test_a_failure_is_one_line(
    dev_broker: Broker, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listen(*arguments) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_a_failure_does_not_speak_of_a_message_that_nobody_sends(
    dev_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listen("--url", "stomp://127.0.0.1:1") == 1
    assert capsys.readouterr().err.startswith("stomp-web: cannot open a session with stomp://127.0.0.1:1: ")
    assert main(["listen", "/queue/denied"]) == 1
    assert capsys.readouterr().err.startswith(f"stomp-web: {dev_broker.url} answered ERROR: ")


def test_a_connection_that_ends_is_one_line(dev_broker: Broker) -> None:
    with program("listen", "/queue/a") as process:
        line_with(process, "Listening")
        dev_broker.stop()
        code, _, err = ended(process)
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith("stomp-web: the connection to ")


@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [(signal.SIGINT, [], 0), (signal.SIGTERM, [], 0), (signal.SIGINT, ["--count", "2"], 130)],
)
def test_a_signal_ends_it_cleanly(
    publisher: Publisher, number: signal.Signals, arguments: list[str], expected: int
) -> None:
    with program("listen", "/queue/a", *arguments) as process:
        line_with(process, "Listening")
        publisher.send("/queue/a", "hello")
        line_with(process, "hello")
        process.send_signal(number)
        code, _, err = ended(process)
    assert code == expected
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_it_has_subscribed_ends_it_cleanly(
    dev_broker: Broker, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe = QueueingDuplexClient.subscribe

    def subscribed(client: QueueingDuplexClient, *arguments: typing.Any, **options: typing.Any) -> str:
        identity = subscribe(client, *arguments, **options)
        signal.raise_signal(number)  # a program that sees the subscriber can send it here
        return identity

    monkeypatch.setattr(QueueingDuplexClient, "subscribe", subscribed)
    assert main(["listen", "/queue/a"]) == 0
    assert dev_broker.wait_until(lambda: not dev_broker.subscribers("/queue/a"))


def test_a_reader_that_goes_away_ends_it_without_a_word(publisher: Publisher) -> None:
    with program("listen", "/queue/a") as process:
        line_with(process, "Listening")
        assert process.stdout is not None
        process.stdout.close()
        publisher.send("/queue/a", "hello")
        assert process.wait() == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stdout = None


def test_a_message_over_a_limit_of_the_address_stays_in_its_queue(
    dev_broker: Broker, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.send("/queue/a", "x" * 100)
    url = f"{dev_broker.url}?max_body_bytes=50"
    assert main(["listen", "/queue/a", "--timeout", "10", "--count", "1", "--url", url]) == 0
    out = capsys.readouterr().out
    assert "max_body_bytes" in out
    assert "not acknowledged" in out
    assert dev_broker.wait_until(lambda: len(dev_broker.pending("/queue/a")) == 1)


@pytest.mark.parametrize(
    "arguments", [["/queue/a", "--header", "destination=x"], ["/queue/a", "--header", "id=3"], ["/queue/\udc80"]]
)
def test_what_no_broker_can_take_ends_with_2_also_where_none_is(dev_broker: Broker, arguments: list[str]) -> None:
    dev_broker.stop()
    assert main(["listen", *arguments]) == 2
