"""`Broker`: start and stop, its address, and its methods for tests."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import typing
from pathlib import Path

import pytest

from stomp_web.broker import Broker
from stomp_web.broker.loop import Loop
from stomp_web.protocol import Frame
from tests.broker.wire import PATIENCE, Wire
from tests.brokers.ports import free_ports


@pytest.fixture
def ctrl_c() -> typing.Iterator[None]:
    """Ctrl-C has Python's handler, whatever an earlier test has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class TestLife:
    def test_it_serves_from_start_to_stop_and_both_can_be_called_twice(self):
        (port,) = free_ports(1)
        broker = Broker(port=port)
        broker.stop()
        broker.start()
        broker.start()
        with Wire(broker) as wire:
            wire.connect()
            broker.stop()
            broker.stop()
            assert wire.ends()
        with pytest.raises(ConnectionRefusedError), Wire(broker):
            pass

    def test_it_can_start_again_on_the_same_port(self):
        (port,) = free_ports(1)
        broker = Broker(port=port)
        ports = set()
        for number in range(1, 4):
            with broker, Wire(broker) as wire:
                wire.connect()
                wire.put("/queue/a", b"x")
                ports.add(broker.port)
                assert len(broker.messages("/queue/a")) == number
        assert len(ports) == 1

    def test_what_happened_can_be_read_after_its_end(self):
        with Broker() as broker, Wire(broker) as wire:
            wire.connect()
            wire.put("/queue/a", b"x")
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"x"]
        assert broker.sessions == 0

    def test_it_leaves_no_thread_and_no_descriptor(self):
        def open_descriptors() -> int:
            directory = Path("/proc/self/fd")
            return len(list(directory.iterdir())) if directory.is_dir() else 0

        with Broker():
            pass  # what Python opens once
        threads, descriptors = threading.active_count(), open_descriptors()
        for _ in range(20):
            with Broker() as broker:
                for _ in range(5):
                    with Wire(broker) as wire:
                        wire.connect()
        assert (threading.active_count(), open_descriptors()) == (threads, descriptors)

    def test_a_taken_port_is_an_error_that_names_it(self, broker):
        second = Broker(port=broker.port)
        with pytest.raises(OSError, match=f"127.0.0.1:{broker.port}"):
            second.start()
        second.stop()

    def test_stop_is_quick_with_clients_that_do_not_read(self, broker):
        with Wire(broker, receive_buffer=4096) as wire:
            wire.connect()
            wire.subscribe("/queue/a")
            for _ in range(100):
                wire.send(Frame("SEND", {"destination": "/queue/a"}, b"x" * 10_000))
            began = time.monotonic()
            broker.stop()
            assert time.monotonic() - began < 30

    def test_serve_forever_serves_in_the_calling_thread_until_stop(self):
        broker = Broker()
        thread = threading.Thread(target=broker.serve_forever)
        thread.start()
        assert broker.wait_until(lambda: broker.port)
        with Wire(broker) as wire:
            wire.connect()
            with pytest.raises(RuntimeError, match="running already"):
                broker.serve_forever()
            broker.stop()
            assert wire.ends()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    def test_ctrl_c_ends_serve_forever_cleanly(self):
        program = (
            "import threading\n"
            "from stomp_web.broker import Broker\n"
            "broker = Broker()\n"
            "def tell():\n"
            "    broker.wait_until(lambda: broker.port)\n"
            "    print(broker.port, flush=True)\n"
            "threading.Thread(target=tell).start()\n"
            "broker.serve_forever()\n"
            "print('clean', flush=True)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
                sock.sendall(b"CONNECT\n\n\0")
                assert sock.recv(1) == b"C"
                while sock.recv(1) != b"\0":
                    pass
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=PATIENCE)
                assert (out, err, process.returncode) == (b"clean\n", b"", 0)
                assert sock.recv(2) in (b"", b"\n")

    @pytest.mark.usefixtures("ctrl_c")
    def test_ctrl_c_at_the_beginning_of_serve_forever_ends_it_before_its_first_round(self, monkeypatch):
        open_loop = Loop.open

        def pressed_first(loop: Loop) -> None:
            signal.raise_signal(signal.SIGINT)
            open_loop(loop)

        def no_round(loop: Loop) -> None:
            pytest.fail("Ctrl-C was forgotten")

        broker = Broker()
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "open", pressed_first)
            patch.setattr(Loop, "_round", no_round)
            broker.serve_forever()
        with broker, Wire(broker) as wire:
            assert wire.connect().command == "CONNECTED"

    @pytest.mark.usefixtures("ctrl_c")
    def test_ctrl_c_before_a_start_that_fails_or_after_the_end_does_not_end_the_next_run(self, broker, monkeypatch):
        other = Broker(port=broker.port)
        open_loop, shut_down = Loop.open, Loop._shut_down

        def pressed_first(loop: Loop) -> None:
            signal.raise_signal(signal.SIGINT)
            open_loop(loop)

        def pressed_late(loop: Loop) -> None:
            shut_down(loop)
            signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Loop, "open", pressed_first)
            with pytest.raises(OSError, match=f"127.0.0.1:{broker.port}"):
                other.serve_forever()
        broker.stop()
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "_round", lambda loop: signal.raise_signal(signal.SIGINT))
            patch.setattr(Loop, "_shut_down", pressed_late)
            other.serve_forever()
        with other, Wire(other) as wire:
            assert wire.connect().command == "CONNECTED"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
    def test_a_forked_child_holds_no_connection_of_it_and_disturbs_none(self, broker):
        with Wire(broker) as wire:
            wire.connect()
            told, telling = os.pipe()
            child = os.fork()
            if child == 0:
                broker.stop()
                os.write(telling, b"%d" % broker.sessions)
                select.select([], [], [], PATIENCE)
                os._exit(0)
            try:
                assert os.read(told, 1) == b"0"
                wire.put("/queue/a", b"x")
                broker.stop()
                assert wire.ends()  # while the child lives
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                os.close(told)
                os.close(telling)


class TestAddress:
    def test_it_is_on_the_loopback_at_a_free_port(self, broker):
        assert broker.address == ("127.0.0.1", broker.port)
        assert broker.url == f"stomp://127.0.0.1:{broker.port}"
        assert repr(broker) == f"<Broker 127.0.0.1:{broker.port} running>"

    def test_a_broker_on_all_addresses_is_reached_at_the_loopback_under_any_name(self):
        with Broker("0.0.0.0") as broker, Wire(broker) as wire:
            assert broker.url == f"stomp://127.0.0.1:{broker.port}"
            assert wire.connect(host="some.name").command == "CONNECTED"

    def test_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            pytest.skip("the machine has no IPv6")
        with Broker("::1") as broker, Wire(broker) as wire:
            assert broker.url == f"stomp://[::1]:{broker.port}"
            assert wire.connect().command == "CONNECTED"


class TestJournal:
    def test_messages_tells_everything_that_was_accepted_delivered_or_not(self, connect, broker):
        wire = connect()
        wire.put("/queue/a", b"1", b"2", custom="c")
        wire.subscribe("/queue/a")
        wire.bodies(2)
        assert [(frame.command, frame.body, frame.headers["custom"]) for frame in broker.messages("/queue/a")] == [
            ("MESSAGE", b"1", "c"),
            ("MESSAGE", b"2", "c"),
        ]
        assert broker.pending("/queue/a") == []
        assert broker.destinations() == ["/queue/a"]
        assert broker.messages("/queue/other") == []

    def test_what_it_returns_is_the_callers(self, connect, broker):
        connect().put("/queue/a", b"1")
        broker.messages("/queue/a")[0].headers.clear()
        broker.messages("/queue/a").clear()
        assert broker.messages("/queue/a")[0].headers["destination"] == "/queue/a"

    def test_wait_for_returns_when_the_messages_have_come(self, connect, broker):
        wire = connect()

        def send() -> None:
            for _ in range(3):
                wire.send(Frame("SEND", {"destination": "/queue/a"}, b"x"))

        thread = threading.Thread(target=send)
        thread.start()
        assert len(broker.wait_for("/queue/a", 3, timeout=PATIENCE)) == 3
        thread.join()

    def test_wait_for_says_how_many_have_come_when_time_is_up(self, connect, broker):
        connect().put("/queue/a", b"x")
        with pytest.raises(TimeoutError, match="'/queue/a' has accepted 1 of 2"):
            broker.wait_for("/queue/a", 2, timeout=0.01)

    def test_sessions_and_connections_are_counted(self, connect, open_wire, broker):
        assert (broker.sessions, broker.connections, broker.connections_accepted) == (0, 0, 0)
        first = connect()
        connect()
        open_wire()
        assert broker.wait_until(lambda: broker.connections == 3)
        assert (broker.sessions, broker.connections_accepted) == (2, 3)
        first.do("DISCONNECT")
        assert broker.sessions == 1
        first.sock.close()
        assert broker.wait_until(lambda: broker.connections == 2)
        assert broker.connections_accepted == 3

    def test_frames_and_subscribers_are_counted(self, connect, broker):
        wire = connect()
        wire.put("/queue/a", b"1", b"2")
        wire.subscribe("/topic/a")
        assert broker.received("SEND") == 2
        assert broker.received("ACK") == 0
        assert broker.subscribers("/topic/a") == 1

    def test_the_connect_frames_can_be_looked_at(self, connect, broker):
        connect("1.1", login="me")
        (frame,) = broker.connects
        assert frame.headers["accept-version"] == "1.1"
        assert frame.headers["login"] == "me"

    def test_clear_forgets_all_messages_and_disturbs_no_session(self, connect, broker):
        wire = connect()
        wire.put("/queue/a", b"1", b"2", b"3")
        wire.subscribe("/queue/a", ack="client", prefetch_count="1")
        message = wire.receive()
        broker.clear()
        assert broker.messages("/queue/a") == broker.pending("/queue/a") == []
        wire.ack(message, "NACK")
        assert wire.nothing_waits()
        wire.put("/queue/b", b"4")
        assert [frame.body for frame in broker.messages("/queue/b")] == [b"4"]

    def test_it_forgets_the_oldest_rather_than_eat_all_memory_and_says_so(self):
        with Broker(history=10_000) as broker, Wire(broker) as wire:
            wire.connect()
            wire.put("/queue/a", b"x" * 1000, b"x" * 1000)
            assert len(broker.messages("/queue/a")) == 2
            wire.put("/queue/b", *[b"x" * 3000] * 2)
            with pytest.raises(LookupError, match="oldest 1 messages of '/queue/a'"):
                broker.messages("/queue/a")
            assert len(broker.messages("/queue/b")) == 2
            assert len(broker.pending("/queue/a")) == 2


def test_many_clients_at_once_get_every_confirmation(broker):
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with Wire(broker) as wire:
                wire.connect()
                wire.put("/queue/a", *[b"x"] * 50)
                wire.do("DISCONNECT")
        except BaseException as error:  # noqa: BLE001 - the main thread looks at it
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed
    assert len(broker.messages("/queue/a")) == 800
