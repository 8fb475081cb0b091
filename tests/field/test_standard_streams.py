"""Commands whose standard streams are closed, full, or pipes that are read no more: the exit status tells what became
of the message, nothing is a traceback, and a worker works.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import typing

import pytest

from stomp_web import Publisher
from stomp_web._internal.streams import TolerantStream, keep_descriptors, settle, try_to_print
from stomp_web.broker import Broker
from tests.brokers.ports import free_ports, lasting_broker
from tests.cli.running import DEADLINE, ROOT
from tests.client.scripted import eventually

CLI = [sys.executable, "-m", "stomp_web"]
FLASK = [sys.executable, "-m", "flask", "--app", "tests.field.flask_consumer", "stomp"]
DJANGO = [sys.executable, "-m", "tests.django.manage"]

# What is done to the streams: "read no more" is a pipe whose reader has ended.
STREAMS = [">&-", ">/dev/full", ">read no more", "2>&-", "2>/dev/full", "2>read no more", "<&- >&- 2>&-"]


def each(commands: dict[str, list[str]]) -> pytest.MarkDecorator:
    """Each command of ours with all of these streams, and those of the frameworks, which start slowly, with some."""
    return pytest.mark.parametrize(
        ("command", "streams"),
        [
            pytest.param(command, streams, id=f"{name} {streams}")
            for name, command in commands.items()
            for streams in (STREAMS if command[: len(CLI)] == CLI else [">/dev/full", "2>&-", "<&- >&- 2>&-"])
        ],
    )


# A worker whose handler prints, before it tells that it has run.
PRINTING = """
import os
import sys

from stomp_web import Publisher
from stomp_web.worker import Worker

worker = Worker(os.environ["STOMP_URL"])
publisher = Publisher(os.environ["STOMP_URL"])


@worker.subscribe("/queue/orders")
def handle(message):
    print("handled", message.payload, flush=True)
    print("handled", message.payload, file=sys.stderr, flush=True)
    sys.stdout.write("handled")
    publisher.send("/queue/done", message.payload)
"""


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as broker:
        yield broker


def environment(url: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "STOMP_URL": url,
        "STOMP_TEST_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.django.settings",
    }


@contextlib.contextmanager
def running(
    command: list[str], streams: str, url: str, cwd: object = ROOT
) -> typing.Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run *command* with *streams*; the number is the end of a pipe that has what the other streams got."""
    for framework, program in (("flask", FLASK), ("django", DJANGO)):
        if command[:3] == program[:3]:
            pytest.importorskip(framework)
    read, write = os.pipe()
    dead_read, dead_write = os.pipe()
    os.close(dead_read)
    in_shell = "" if "read no more" in streams else streams
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {in_shell}', "sh", *command],
        cwd=str(cwd),
        env=environment(url),
        stdout=dead_write if streams == ">read no more" else write,
        stderr=dead_write if streams == "2>read no more" else write,
    )
    os.close(write)
    os.close(dead_write)
    try:
        yield process, read
    finally:
        process.kill()
        process.wait()
        os.close(read)


def run(command: list[str], streams: str, url: str) -> tuple[int, str]:
    """Run *command* to its end; return its exit status and what it printed on the streams that are left."""
    with running(command, streams, url) as (process, read):
        printed = b""
        while chunk := os.read(read, 65536):
            printed += chunk
        return process.wait(DEADLINE), printed.decode()


def is_clean(printed: str) -> bool:
    return "Traceback" not in printed and "Exception ignored" not in printed


@each(
    {
        "stomp-web": [*CLI, "send", "/queue/a", "1"],
        "flask": [*FLASK, "send", "/queue/a", "1"],
        "manage.py": [*DJANGO, "stomp_send", "/queue/a", "1"],
    }
)
def test_a_confirmed_message_ends_with_0_whether_its_id_can_be_printed_or_not(
    broker: Broker, command: list[str], streams: str
) -> None:
    code, printed = run(command, streams, broker.url)
    assert (code, len(broker.messages("/queue/a"))) == (0, 1), printed
    assert is_clean(printed)
    assert ("standard output cannot be written" in printed) is (streams in (">&-", ">/dev/full"))


@each(
    {
        "stomp-web": [*CLI, "send", "/queue/a", "1"],
        "flask": [*FLASK, "send", "/queue/a", "not JSON"],
        "manage.py": [*DJANGO, "stomp_send", "/queue/a", "not JSON"],
        "ping": [*CLI, "ping"],
    }
)
def test_a_message_that_was_not_sent_ends_with_1(command: list[str], streams: str) -> None:
    code, printed = run(command, streams, "stomp://127.0.0.1:1")
    assert code == 1
    assert is_clean(printed)


@each({"stomp-web": [*CLI, "ping"], "flask": [*FLASK, "ping"], "manage.py": [*DJANGO, "stomp_ping"]})
def test_a_broker_that_answers_ends_with_0(broker: Broker, command: list[str], streams: str) -> None:
    code, printed = run(command, streams, broker.url)
    assert code == 0
    assert is_clean(printed)


@pytest.mark.parametrize("streams", [">&-", ">/dev/full", ">read no more"])
def test_all_of_many_messages_are_sent_though_their_ids_cannot_be_printed(broker: Broker, streams: str) -> None:
    code, printed = run([*CLI, "send", "/queue/a", "1", "--count", "5"], streams, broker.url)
    assert (code, len(broker.messages("/queue/a"))) == (0, 5)
    assert printed.count("cannot be written") == (streams != ">read no more")


@pytest.mark.parametrize("streams", STREAMS)
def test_listen_takes_what_it_could_print_and_nothing_else(broker: Broker, streams: str) -> None:
    with Publisher(broker.url) as publisher:
        publisher.send("/queue/a", 1)
    code, printed = run([*CLI, "listen", "/queue/a", "--count", "1", "--timeout", "10"], streams, broker.url)
    prints = streams.startswith("2")
    assert code == (0 if prints else 1)
    assert is_clean(printed)
    assert broker.wait_until(lambda: not broker.subscribers("/queue/a"))
    assert len(broker.pending("/queue/a")) == (0 if prints else 1)


def test_a_body_from_a_closed_standard_input_is_no_empty_message(broker: Broker) -> None:
    code, printed = run([*CLI, "send", "/queue/a", "-"], "<&-", broker.url)
    assert code == 1
    assert "standard input is closed" in printed
    assert broker.messages("/queue/a") == []


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["send"], 2), (["--version"], 0)])
@pytest.mark.parametrize("streams", [">/dev/full", "<&- >&- 2>&-"])
def test_help_that_cannot_be_printed_is_no_traceback(arguments: list[str], code: int, streams: str) -> None:
    ended, printed = run([*CLI, *arguments], streams, "memory://")
    assert ended == code
    assert is_clean(printed)


@pytest.mark.parametrize("streams", STREAMS)
def test_a_broker_serves_without_them(streams: str) -> None:
    (port,) = free_ports(1)
    with running([*CLI, "broker", "--port", str(port)], streams, "memory://") as (process, _):
        with Publisher(f"stomp://127.0.0.1:{port}") as publisher:
            assert eventually(lambda: publisher.check(DEADLINE), DEADLINE)
            publisher.send("/queue/a", 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("how", "streams"),
    [([], streams) for streams in STREAMS] + [(["--processes", "1"], streams) for streams in STREAMS[::3]],
)
def test_a_worker_works_without_them(broker: Broker, tmp_path: object, streams: str, how: list[str]) -> None:
    (tmp_path / "printing.py").write_text(PRINTING)  # type: ignore[operator]
    with (
        running([*CLI, "worker", "printing:worker", *how], streams, broker.url, cwd=tmp_path) as (process, _),
        Publisher(broker.url) as publisher,
    ):
        for number in range(3):
            publisher.send("/queue/orders", number)
        broker.wait_for("/queue/done", 3, DEADLINE)
        assert broker.wait_until(lambda: not broker.unacknowledged("/queue/orders"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert broker.destinations() == ["/queue/orders", "/queue/done"]  # no dead letter


@pytest.mark.parametrize(
    ("command", "done"),
    [([*FLASK, "worker"], "/queue/done"), ([*DJANGO, "stomp_worker", "--using", "audit"], "/queue/booked")],
    ids=["flask", "manage.py"],
)
@pytest.mark.parametrize("streams", ["2>/dev/full", "<&- >&- 2>&-"])
def test_a_worker_of_a_framework_works_without_them(
    broker: Broker, command: list[str], done: str, streams: str
) -> None:
    with running(command, streams, broker.url) as (process, _), Publisher(broker.url) as publisher:
        if done == "/queue/booked":
            publisher.send("/queue/audit", 1, serializer="pickle")
        else:
            publisher.send("/queue/orders", 1)
        broker.wait_for(done, 1, DEADLINE)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_a_socket_never_gets_the_number_of_a_standard_stream() -> None:
    script = (
        "import os, socket; from stomp_web._internal.streams import keep_descriptors; keep_descriptors();"
        "raise SystemExit(0 if socket.socket().fileno() > 2 else 5)"
    )
    assert run([sys.executable, "-c", script], "<&- >&- 2>&-", "memory://")[0] == 0
    before = [os.fstat(number) for number in range(3)]
    keep_descriptors()
    assert [os.fstat(number) for number in range(3)] == before


def test_a_stream_that_the_program_has_closed_costs_no_descriptor() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = open(writing, "w")  # noqa: SIM115, PTH123 - closed here, before it is used
    stream.close()
    free = os.dup(0)
    os.close(free)
    assert not settle(stream)
    assert str(try_to_print(stream, "order 7")) == str(OSError(9, "it is closed"))
    again = os.dup(0)
    os.close(again)
    assert again == free


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_character_that_a_stream_lacks_is_escaped_and_loses_no_text(encoding: str) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, newline="\n")
    tolerant = TolerantStream(stream)
    assert tolerant.write("order \udc80\u2192 7\n") == 11
    tolerant.flush()
    assert try_to_print(stream, "order \udc80\u2192 8") is None
    assert tolerant.failure is None
    arrow = "\u2192" if encoding == "utf-8" else "\\u2192"
    assert written.getvalue().decode(encoding) == f"order \\udc80{arrow} 7\norder \\udc80{arrow} 8\n"
