"""`stomp-web ping` says whether the broker answers, how fast, and which one it is."""

from __future__ import annotations

import re
import time

import pytest

from stomp_web import __version__
from stomp_web.broker import Broker
from stomp_web.cli import main

Printed = pytest.CaptureFixture[str]


def test_it_prints_address_time_broker_and_version(dev_broker: Broker, capsys: Printed) -> None:
    assert main(["ping"]) == 0
    line = capsys.readouterr().out
    words = rf"{re.escape(dev_broker.url)} answered in \d+\.\d ms: stomp-web/{re.escape(__version__)}, STOMP 1\.2\n"
    assert re.fullmatch(words, line)
    assert dev_broker.destinations() == []


def test_no_broker_is_one_line_and_1(capsys: Printed) -> None:
    assert main(["ping", "--url", "stomp://127.0.0.1:1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("stomp-web: cannot open a session with stomp://127.0.0.1:1: ")
    assert err.count("\n") == 1


def test_a_refused_login_is_1_and_shows_no_passcode(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker(login="ada", passcode="right") as broker:
        host, port = broker.address
        monkeypatch.setenv("STOMP_URL", f"stomp://ada:s3cret@{host}:{port}")
        assert main(["ping"]) == 1
    out, err = capsys.readouterr()
    assert "Access refused for user 'ada'" in err
    assert "s3cret" not in out + err


def test_a_broker_that_is_mute_is_given_up_in_time(
    dev_broker: Broker, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev_broker.faults.freeze("CONNECT")
    monkeypatch.setenv("STOMP_URL", f"{dev_broker.url}?timeout=100&connect_timeout=100")
    began = time.monotonic()
    assert main(["ping", "--timeout", "0.3"]) == 1
    assert time.monotonic() - began < 60  # and not the option's timeout
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--url", "amqp://localhost"], ["--url", "stomp://?tiemout=1"], ["--timeout", "0"], ["--timeout", "x"], ["x"]],
)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: Printed) -> None:
    assert main(["ping", *arguments]) == 2
    assert "usage" in capsys.readouterr().err
