"""`stomp-web listen` takes only what it could read: what it could not is in its queue afterwards, and it says so."""

from __future__ import annotations

import signal
import typing

import pytest

from stomp_web import Publisher
from stomp_web._internal.signals import StopSignals
from stomp_web.broker import Broker
from stomp_web.cli import main
from tests.brokers.ports import lasting_broker
from tests.cli.running import ended, line_with, program

Printed = pytest.CaptureFixture[str]


@pytest.fixture(params=["stomp-web/1", "RabbitMQ/3.10.8", "ActiveMQ/5.17.2", "Unknown/1"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> typing.Iterator[Broker]:
    with lasting_broker(server=request.param) as broker:
        monkeypatch.setenv("STOMP_URL", broker.url)
        yield broker


@pytest.fixture
def publisher(broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(broker.url, signing_keys=["key"]) as publisher:
        yield publisher


def listen(*arguments: str) -> int:
    return main(["listen", "/queue/a", *arguments])


def left(broker: Broker) -> list[str]:
    assert broker.wait_until(lambda: not broker.subscribers("/queue/a"))
    return [frame.headers["content-type"] for frame in broker.pending("/queue/a")]


@pytest.mark.parametrize("serializer", ["pickle", "signed-json", "signed-pickle"])
def test_a_message_that_cannot_be_read_stays_in_its_queue(
    broker: Broker, publisher: Publisher, capsys: Printed, serializer: str
) -> None:
    publisher.send("/queue/a", {"id": 7}, serializer=serializer)
    assert listen("--count", "1", "--timeout", "10") == 0
    out, err = capsys.readouterr()
    assert out.count("it is not acknowledged: it stays in its queue") == 1
    assert err == "stomp-web: 1 message of /queue/a could not be read; not acknowledged, and so still in the queue\n"
    assert len(left(broker)) == 1


def test_a_body_that_is_not_what_it_says_stays_too(broker: Broker, publisher: Publisher) -> None:
    publisher.send("/queue/a", b"{no json", {"content-type": "application/json"}, serializer="bytes")
    assert listen("--count", "1", "--timeout", "10") == 0
    assert len(left(broker)) == 1


def test_those_behind_it_are_printed_and_taken(broker: Broker, publisher: Publisher, capsys: Printed) -> None:
    for number in range(3):
        publisher.send("/queue/a", number, serializer="pickle" if number == 1 else "json")
    assert listen("--count", "3", "--timeout", "10") == 0
    assert "message 3" in capsys.readouterr().out
    assert left(broker) == ["application/x-python-serialize"]


def test_it_comes_again_and_can_be_taken_by_who_reads_it(broker: Broker, publisher: Publisher) -> None:
    publisher.send("/queue/a", {"id": 7}, serializer="pickle")
    assert listen("--count", "1", "--timeout", "10") == 0
    assert len(left(broker)) == 1
    assert listen("--count", "1", "--timeout", "10", "--accept", "pickle") == 0
    assert left(broker) == []


def test_an_ack_of_all_before_it_is_not_given_behind_such_a_message(
    broker: Broker, publisher: Publisher, capsys: Printed
) -> None:
    for number in range(4):
        publisher.send("/queue/a", number, serializer="pickle" if number == 1 else "json")
    assert listen("--count", "4", "--timeout", "10", "--ack", "client") == 0
    out, err = capsys.readouterr()
    assert "with --ack client so is every later message" in out
    assert "3 messages of /queue/a were not taken, as 1 could not be read" in err
    assert len(left(broker)) == 3


def test_with_auto_it_says_beforehand_that_everything_is_taken(
    broker: Broker, publisher: Publisher, capsys: Printed
) -> None:
    publisher.send("/queue/a", 1, serializer="pickle")
    assert listen("--count", "1", "--timeout", "10", "--ack", "auto") == 0
    out, _ = capsys.readouterr()
    assert out.startswith("With --ack auto, messages are taken even if they cannot be read.\n")
    assert left(broker) == []


def test_a_window_full_of_them_ends_the_command_in_words(broker: Broker, publisher: Publisher, capsys: Printed) -> None:
    prefetch = {"ActiveMQ/5.17.2": "activemq.prefetchSize"}.get(publisher.check().server or "", "prefetch-count")
    publisher.send_many([("/queue/a", number) for number in range(5)], serializer="pickle")
    assert listen("--header", f"{prefetch}=3", "--timeout", "10") == 1
    err = capsys.readouterr().err
    assert "3 messages of /queue/a could not be read and are still in the queue" in err
    assert "--accept" in err
    assert len(left(broker)) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_it_there(broker: Broker, publisher: Publisher, number: signal.Signals) -> None:
    with program("listen", "/queue/a") as process:
        line_with(process, "Listening")
        publisher.send("/queue/a", 1, serializer="pickle")
        line_with(process, "it stays in its queue")
        process.send_signal(number)
        code, _, err = ended(process)
    assert code == 0
    assert "still in the queue" in err
    assert len(left(broker)) == 1


@pytest.mark.parametrize(("later", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signals_within_half_a_second_are_one_request(later: signal.Signals, raised: type[BaseException]) -> None:
    now = 5.0
    with StopSignals(clock=lambda: now) as stop:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            now += 0.2
        assert stop.asked
        with pytest.raises(raised):
            signal.raise_signal(later)
