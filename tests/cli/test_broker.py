"""`stomp-web broker` serves in the foreground until it is told to stop."""

from __future__ import annotations

import errno
import re
import signal
import socket
import urllib.request

import pytest

from stomp_web import AuthenticationFailed, Publisher
from stomp_web.broker import Broker
from stomp_web.cli import main
from tests.cli.running import DEADLINE, ended, line_with, program


def url_of(line: str) -> str:
    return re.findall(r"stomp://\S+", line)[0]


def another(port: int) -> int:
    return port + 1 if port < 65535 else 65534


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_cleanly(number: signal.Signals) -> None:
    with program("broker", "--port", "0") as process:
        url = url_of(line_with(process, "listens"))
        assert "Not for production" in line_with(process, "production")
        with Publisher(url) as publisher:
            assert publisher.send("/queue/a", 1)
            process.send_signal(number)
            code, out, err = ended(process)
    assert (code, out.strip(), err) == (0, "The broker has stopped.", "")


def test_it_demands_the_login_it_was_given() -> None:
    with program("broker", "--port", "0", "--login", "ada", "--passcode", "s3cret", "--verbose") as process:
        line = line_with(process, "listens")
        assert "s3cret" not in line
        host = url_of(line).removeprefix("stomp://")
        with Publisher(f"stomp://ada:s3cret@{host}") as publisher:
            publisher.send("/queue/a", 1)
        with Publisher(f"stomp://ada:wrong@{host}") as publisher, pytest.raises(AuthenticationFailed):
            publisher.send("/queue/a", 1)
        process.terminate()
        _, _, err = ended(process)
    assert "SEND '/queue/a'" in err
    assert "None" not in err
    assert "s3cret" not in err


def test_a_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["broker", "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"stomp-web: the broker cannot listen on 127.0.0.1:{port}: Address already in use. ")
    assert err.count("\n") == 1
    other = another(port)
    assert f"--port {other} " in err
    assert err.endswith(f" --url stomp://127.0.0.1:{other}.\n")


def test_the_port_that_it_names_instead_is_a_port(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(broker: Broker) -> None:
        raise OSError(errno.EADDRINUSE, "the last port is in use")

    monkeypatch.setattr(Broker, "start", start)
    assert main(["broker", "--host", "::1", "--port", "65535"]) == 1
    err = capsys.readouterr().err
    assert "--port 65534 " in err
    assert err.endswith(" --url stomp://[::1]:65534.\n")


def test_its_page_is_on_this_machine_only_unless_asked_otherwise() -> None:
    for address, warns in (("0", False), ("localhost:0", False), ("0.0.0.0:0", True)):
        with program("broker", "--port", "0", "--http", address) as process:
            url = re.findall(r"http://\S+", line_with(process, "Its page is at"))[0]
            line_with(process, "has no login" if warns else "Not for production")
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                assert b"<!doctype html>" in answer.read()
            process.terminate()
            code, _, err = ended(process)
        assert (code, err) == (0, "")


def test_a_port_of_the_page_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["broker", "--port", "0", "--http", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"stomp-web: the page cannot listen on 127.0.0.1:{port}: Address already in use. ")
    assert err.count("\n") == 1
    assert f"--http 127.0.0.1:{another(port)} " in err


def test_a_host_that_does_not_exist_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broker", "--host", "nohost.invalid", "--port", "0"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("stomp-web: the broker cannot listen on nohost.invalid:0: ")
    assert err.count("\n") == 1


def test_it_plays_the_broker_that_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    with program("broker", "--port", "0", "--server", "ActiveMQ/5.17.2") as process:
        url = url_of(line_with(process, "listens"))
        with Publisher(url) as publisher:
            assert publisher.send("/bogus/x", 1)
            assert "ActiveMQ/5.17.2" in str(publisher.check())
    with program("broker", "--port", "0", "--queue", "orders") as process:
        url = url_of(line_with(process, "listens"))
        with Publisher(url) as publisher:
            assert publisher.send("/amq/queue/orders", 1)
    assert main(["broker", "--port", "0", "--queue", "/topic/orders"]) == 2
    assert main(["broker", "--port", "0", "--queue", ""]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--port", "x"], ["--port", "65536"], ["--port", "-1"], ["--login", "ada"], ["--passcode", "x"]),
        *(["--http", each] for each in ("x", "65536", ":8161", "::1:8161", "localhost:", "[::1]")),
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broker", *arguments]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_the_start_ends_it_cleanly(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Broker.start

    def started(broker: Broker) -> None:
        start(broker)
        signal.raise_signal(number)  # a program that uses the broker already can send it here

    monkeypatch.setattr(Broker, "start", started)
    assert main(["broker", "--port", "0"]) == 0
    assert capsys.readouterr().out.endswith("\nThe broker has stopped.\n")
