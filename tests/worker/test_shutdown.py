"""The shutdown of a worker: running handlers end and are acknowledged; messages that were not begun go back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import typing

import pytest

from stomp_web._internal import signals
from stomp_web.broker import Broker
from stomp_web.worker import ReceivedMessage, Worker
from stomp_web.worker.once import InboxUnavailable
from tests.client.scripted import eventually
from tests.worker.running import PATIENCE, Notes, own_threads, patient


def nothing(message: ReceivedMessage) -> None: ...


class InboxWithoutDatabase:
    """The inbox of a worker. Its database cannot be reached."""

    arguments = 1

    def __init__(self, before: typing.Callable[[], object] = lambda: None) -> None:
        self.calls = 0
        self._before = before

    def check(self) -> None: ...

    def run(self, *_: object) -> None:
        self.calls += 1
        self._before()
        raise InboxUnavailable("the database cannot be reached")


class TestStop:
    def test_what_runs_is_finished_and_acknowledged_and_the_rest_goes_back(self, broker, publisher, start):
        release = threading.Event()
        notes = Notes(lambda message: release.wait(PATIENCE))
        worker = Worker(broker.url, concurrency=2, prefetch=10)
        worker.subscribe("/queue/a")(notes)
        running = start(worker)
        publisher.send_many([("/queue/a", number) for number in range(10)])
        notes.wait(2)
        worker.stop()
        assert eventually(lambda: not worker.is_alive)
        release.set()
        assert running.ended()
        assert running.code == 0
        assert sorted(notes.payloads) == [0, 1]
        assert broker.received("ACK") == 2
        assert broker.received("DISCONNECT") == 1
        assert [int(frame.body) for frame in broker.pending("/queue/a")] == list(range(2, 10))

    def test_a_failure_at_the_end_goes_back_too(self, broker, publisher, start):
        release = threading.Event()

        def handle(message):
            release.wait(PATIENCE)
            raise LookupError

        notes = Notes(handle)
        worker = Worker(broker.url, retry_delay=30)
        worker.subscribe("/queue/a")(notes)
        running = start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(1)
        worker.stop()
        release.set()
        assert running.ended()
        assert running.code == 0
        assert len(broker.pending("/queue/a")) == 1
        assert broker.received("NACK") == 0

    def test_a_failure_that_waits_for_its_next_try_goes_back(self, broker, publisher, start):
        def handle(message):
            raise LookupError

        notes = Notes(handle)
        worker = Worker(broker.url, retry_delay=30)
        worker.subscribe("/queue/a")(notes)
        running = start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(1)
        assert eventually(lambda: worker.stats().failed == 1)
        assert running.stop() == 0
        assert len(broker.pending("/queue/a")) == 1

    @pytest.mark.parametrize("server", ["RabbitMQ/3.10.8", "ActiveMQ/5.17.2", "stomp-web/test"])
    def test_of_an_auto_subscription_under_traffic_nothing_that_waits_is_lost(self, start, server):
        asked = threading.Event()
        notes = Notes(lambda message: message.payload < 1000 or asked.wait(PATIENCE))
        with Broker(server=server) as broker, patient(broker) as publisher:
            worker = Worker(broker.url, concurrency=2, prefetch=20)
            worker.subscribe("/queue/a", ack="auto")(notes)
            running = start(worker)
            publisher.send_many([("/queue/a", number) for number in range(2000)])
            notes.wait(50)
            worker.stop()
            asked.set()
            assert running.ended()
            assert running.code == 0
            left = [int(frame.body) for frame in broker.pending("/queue/a")]
            assert sorted(notes.payloads + left) == list(range(2000))
            assert left

    def test_one_of_those_that_fails_at_the_end_becomes_a_dead_letter(self, broker, publisher, start):
        def handle(message):
            raise LookupError

        notes = Notes(handle)
        worker = Worker(broker.url, concurrency=1, retry_delay=30, max_redeliveries=2)
        worker.subscribe("/queue/a", ack="auto")(notes)
        running = start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(1)
        assert eventually(lambda: worker.stats().failed == 1)
        assert running.stop() == 0
        assert len(notes.messages) == 3
        assert len(broker.messages("/queue/DLQ")) == 1

    def test_one_of_those_whose_inbox_has_no_database_becomes_a_dead_letter(self, broker, publisher, start):
        inbox = InboxWithoutDatabase()
        worker = Worker(broker.url, concurrency=1, retry_delay=30, max_redeliveries=2, inbox=inbox)
        worker.subscribe("/queue/a", ack="auto", once=True)(nothing)
        running = start(worker)
        publisher.send("/queue/a", 1)
        assert eventually(lambda: worker.stats().retried == 1)
        assert running.stop() == 0
        assert inbox.calls == 3
        assert len(broker.messages("/queue/DLQ")) == 1

    def test_without_the_database_of_the_inbox_a_message_that_runs_goes_back(self, broker, publisher, start):
        release = threading.Event()
        inbox = InboxWithoutDatabase(lambda: release.wait(PATIENCE))
        worker = Worker(broker.url, inbox=inbox)
        worker.subscribe("/queue/a", once=True)(nothing)
        running = start(worker)
        publisher.send("/queue/a", 1)
        assert eventually(lambda: inbox.calls == 1)
        worker.stop()
        assert eventually(lambda: not worker.is_alive)
        release.set()
        assert running.ended()
        assert (running.code, inbox.calls) == (0, 1)
        assert len(broker.pending("/queue/a")) == 1

    def test_a_dead_letter_that_is_refused_is_not_tried_without_a_pause(self, start):
        with Broker(denied=("/queue/DLQ",)) as broker, patient(broker) as publisher:
            notes = Notes(lambda message: 1 / 0)
            worker = Worker(broker.url, concurrency=1, max_redeliveries=0, grace=0.5)
            worker.subscribe("/queue/a", ack="auto")(notes)
            running = start(worker)
            publisher.send("/queue/a", 1)
            notes.wait(1)
            assert eventually(lambda: worker.stats().failed == 1)
            assert running.stop() == 1  # it has the only copy of a message
            assert broker.received("SEND") < 10

    def test_a_handler_that_does_not_end_is_left_after_the_grace_time(self, broker, publisher, start):
        release = threading.Event()
        notes = Notes(lambda message: release.wait(PATIENCE))
        worker = Worker(broker.url, concurrency=2, grace=0.2)
        worker.subscribe("/queue/a")(notes)
        running = start(worker)
        publisher.send("/queue/a", "slow")
        notes.wait(1)
        assert running.stop() == 1
        assert len(broker.pending("/queue/a")) == 1
        assert broker.received("ACK") == 0
        release.set()
        assert eventually(lambda: not own_threads())
        assert broker.received("ACK") == 0  # too late for that: another may have the message by now

    def test_it_can_be_stopped_while_the_broker_is_away(self, broker, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        running = start(worker)
        broker.stop()
        assert eventually(lambda: not worker.is_alive)
        assert running.stop() == 0
        assert own_threads() == []

    def test_a_stop_before_the_run_is_none(self, broker, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        worker.stop()
        start(worker)

    def test_a_handler_may_stop_its_worker(self, broker, publisher, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(lambda message: worker.stop())
        running = start(worker)
        publisher.send("/queue/a", 1)
        assert running.ended()
        assert running.code == 0
        assert broker.received("ACK") == 1


PROGRAM = """
import os, signal, sys, threading
from stomp_web import PublishClient
from stomp_web._internal import signals
from stomp_web.worker import Worker

url, processes, grace, signals.ONE_REQUEST = sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:])

def tell(what):
    with PublishClient.from_url(url) as client:
        client.send("/queue/told", what, confirm=True)

def handle(message):
    tell("begun")
    with open(message.payload) as pipe:  # until the test says so
        pipe.read()
    tell("handled")

worker = Worker(url, concurrency=2, processes=processes, grace=grace)
worker.subscribe("/queue/a")(handle)

if __name__ == "__main__":
    code = worker.run()
    tell("ended")
    if os.path.exists("again"):  # what a wrapper sends while the program does what comes after the worker
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    sys.exit(code)
"""


class Program:
    """A worker in a process of its own. Its handler begins, and goes on when the test has written to a named pipe."""

    def __init__(self, broker: Broker, folder: typing.Any, processes: int, grace: float, one_request: float) -> None:
        self.broker = broker
        self.pipe = folder / "go on"
        os.mkfifo(self.pipe)
        script = folder / "program.py"
        script.write_text(PROGRAM)
        # A group of its own, so that a signal can be sent to all of it, as a terminal and a service manager do.
        self.process = subprocess.Popen(
            [sys.executable, script, broker.url, str(processes), str(grace), str(one_request)],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with patient(broker) as publisher:
            publisher.send("/queue/a", str(self.pipe))
        assert self.told("begun", 1)

    def told(self, what: str, times: int, within: float = PATIENCE) -> bool:
        def enough() -> bool:
            return [frame.body.decode() for frame in self.broker.messages("/queue/told")].count(what) >= times

        return self.broker.wait_until(enough, within)

    def go_on(self) -> None:
        with self.pipe.open("w") as pipe:
            pipe.write("on")

    def close(self) -> None:
        # All of the group, also where its leader has ended: a process may still be in a handler.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def program(broker, tmp_path) -> typing.Iterator[typing.Callable[..., Program]]:
    programs: list[Program] = []

    def begin(processes: int = 0, grace: float = 120.0, one_request: float = signals.ONE_REQUEST) -> Program:
        programs.append(Program(broker, tmp_path, processes, grace, one_request))
        return programs[-1]

    yield begin
    for each in programs:
        each.close()


@pytest.mark.parametrize("processes", [0, 2])
class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_the_first_one_shuts_it_down_cleanly(self, broker, program, processes, number):
        running = program(processes)
        os.killpg(running.process.pid, number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.3)  # it waits for the handler
        running.go_on()
        assert running.process.wait(PATIENCE) == 0
        assert [frame.body for frame in broker.messages("/queue/told")] == [b"begun", b"handled", b"ended"]
        assert broker.received("ACK") == 1
        assert broker.pending("/queue/a") == broker.unacknowledged("/queue/a") == []

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
    def test_the_second_one_ends_it_at_once(self, broker, program, processes, number, code):
        running = program(processes, one_request=0)
        os.kill(running.process.pid, number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.3)
        for _ in range(6):  # on a slow machine the first two may have been merged
            os.kill(running.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(5)
                break
        assert running.process.wait(0) == code
        assert broker.wait_until(lambda: len(broker.pending("/queue/a")) == 1)
        assert broker.received("ACK") == 0

    @pytest.mark.parametrize(
        "numbers",
        [
            (signal.SIGINT, signal.SIGINT),
            (signal.SIGTERM, signal.SIGTERM),
            (signal.SIGINT, signal.SIGTERM),
            (signal.SIGTERM, signal.SIGINT),
        ],
    )
    def test_two_soon_after_each_other_are_one(self, broker, program, tmp_path, processes, numbers):
        """A wrapper forwards the Ctrl-C that a terminal sent to all. "Soon" is an hour here, for slow machines."""
        (tmp_path / "again").touch()
        running = program(processes, one_request=3600)
        for number in numbers:
            os.killpg(running.process.pid, number)
            with pytest.raises(subprocess.TimeoutExpired):
                running.process.wait(0.3)  # it waits for the handler; and the signals are not merged
        running.go_on()
        assert running.process.wait(PATIENCE) == 0
        assert [frame.body for frame in broker.messages("/queue/told")] == [b"begun", b"handled", b"ended"]
        assert broker.received("ACK") == 1

    def test_after_the_grace_time_it_ends_with_1(self, broker, program, processes):
        running = program(processes, grace=0.3)
        running.process.terminate()
        assert running.process.wait(PATIENCE) == 1
        assert running.told("ended", 1)
        assert broker.wait_until(lambda: len(broker.pending("/queue/a")) == 1)

    def test_a_kill_gives_the_message_back(self, broker, program, processes):
        running = program(processes)
        running.process.kill()
        running.process.wait(PATIENCE)
        assert broker.wait_until(lambda: len(broker.pending("/queue/a")) == 1)


class TestWhatIsOneRequest:
    """By a clock that the test sets, and real signals."""

    @pytest.fixture
    def handlers(self) -> typing.Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    def test_signals_within_half_a_second_of_the_first(self, handlers):
        now, asked = [100.0], []
        with signals.StopSignals(lambda: asked.append(1), lambda: now[0]):
            for moment in (100.0, 100.0, 100.2, 100.499):
                now[0] = moment
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
            now[0] = 101.0
        assert asked == [1]

    @pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
    def test_a_later_one_ends_it(self, handlers, first):
        now = [100.0]
        with signals.StopSignals(lambda: None, lambda: now[0]):
            signal.raise_signal(first)
            now[0] = 100.4
            signal.raise_signal(first)
            now[0] = 100.5  # half a second after the first, not after the last
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(SystemExit) as ended:
                signal.raise_signal(signal.SIGTERM)
            assert ended.value.code == 143

    def test_the_rest_of_the_half_second_counts_after_the_end_too(self, handlers):
        now, got = [100.0], []
        signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
        with signals.StopSignals(lambda: None, lambda: now[0]):
            signal.raise_signal(signal.SIGINT)
        now[0] = 100.4
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert got == []
        now[0] = 100.6
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert got == [signal.SIGTERM] * 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    def test_after_an_end_without_a_signal_everything_is_as_it_was(self, handlers):
        before = signal.getsignal(signal.SIGINT)
        with signals.StopSignals(lambda: None):
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before
