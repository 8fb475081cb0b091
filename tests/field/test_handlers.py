"""Handlers as people write them: whatever their code does, no message is lost, shifted, or taken for handled."""

from __future__ import annotations

import contextlib
import functools
import logging
import types
import typing

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from stomp_web import ConfigurationError, Publisher
from stomp_web.worker import Handlers, Worker
from tests.client.scripted import eventually
from tests.field import tasks
from tests.worker.running import PATIENCE, Notes, Running, settled

#: Seconds for a worker that starts processes.
LONG = PATIENCE


def fail(message):
    raise LookupError("the shelf is empty")


class TestWhateverAnExceptionDoesTheMessageBecomesADeadLetter:
    @pytest.mark.parametrize("name", tasks.EXCEPTIONS)
    def test_in_a_thread(self, broker, publisher, start, name):
        notes = Notes(tasks.handle)
        worker = Worker(broker.url, concurrency=1, max_redeliveries=1, retry_delay=0.001)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        for _ in range(4):  # more than the broker sends ahead
            publisher.send("/queue/a", name)
        publisher.send("/queue/a", "good")
        letters = broker.wait_for("/queue/DLQ", 4, LONG)
        assert settled(broker)
        assert notes.payloads.count("good") == 1
        assert worker.is_alive
        assert all(letter.headers["x-error"] for letter in letters)

    def test_in_a_process(self, broker, publisher, start):
        worker = Worker(broker.url, processes=1, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.handle)
        start(worker)
        publisher.send_many([("/queue/a", name) for name in tasks.EXCEPTIONS])
        publisher.send("/queue/a", "good")
        letters = broker.wait_for("/queue/DLQ", len(tasks.EXCEPTIONS), LONG)
        assert settled(broker)
        assert worker.is_alive
        assert worker.stats().handled == 1
        assert not [letter for letter in letters if "died" in letter.headers["x-error"]]  # no process was lost by it

    def test_an_error_without_a_text_names_its_class(self, broker, publisher, start, caplog):
        worker = Worker(broker.url, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.handle)
        start(worker)
        publisher.send("/queue/a", "__str__ raises")
        (letter,) = broker.wait_for("/queue/DLQ")
        assert letter.headers["x-error"] == "TextRaises: (its text cannot be shown: __str__ raised TypeError)"
        assert settled(broker)
        assert "raise make()" in caplog.text

    def test_an_error_with_half_a_character_can_be_written_to_a_log(self, broker, publisher, start, caplog):
        worker = Worker(broker.url, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.handle)
        start(worker)
        publisher.send("/queue/a", "half a character")
        assert settled(broker)
        assert eventually(lambda: "LookupError" in caplog.text)
        assert caplog.text.encode()

    def test_what_a_serializer_raises_is_a_failure_too(self, broker, publisher, start, monkeypatch):
        monkeypatch.setattr(
            "stomp_web.worker.executors.read_message", lambda *arguments, **keywords: fail(None), raising=True
        )
        worker = Worker(broker.url, concurrency=1, max_redeliveries=1, retry_delay=0.001)
        worker.subscribe("/queue/a")(Notes())
        start(worker)
        publisher.send_many([("/queue/a", number) for number in range(5)])
        assert broker.wait_for("/queue/DLQ", 5)[0].headers["x-error"] == "LookupError: the shelf is empty"
        assert settled(broker)


class Raises(logging.Handler):
    """A log handler, filter and formatter that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


@contextlib.contextmanager
def attached(handler: logging.Handler) -> typing.Iterator[None]:
    logger = logging.getLogger("stomp_web")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class FilterRaises(logging.StreamHandler):
    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("the filter is broken")


class FormatterRaises(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        raise RuntimeError("the formatter is broken")


def broken_formatter() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(FormatterRaises())
    return handler


class TestNoLogHandlerStopsAWorker:
    @pytest.mark.parametrize(
        "handler", [lambda: Raises(RuntimeError("the log is full")), FilterRaises, broken_formatter]
    )
    def test_in_a_thread(self, broker, start, handler, capsys):
        notes = Notes(tasks.handle)
        with attached(handler()), Publisher(broker.url) as publisher:
            worker = Worker(broker.url, concurrency=1, max_redeliveries=1, retry_delay=0.001)
            worker.subscribe("/queue/a")(notes)
            running = start(worker)
            for _ in range(4):
                publisher.send("/queue/a", "__str__ raises")
            publisher.send("/queue/a", "good")
            broker.wait_for("/queue/DLQ", 4)
            assert settled(broker)
            broker.faults.close_connections()
            assert broker.wait_until(lambda: broker.received("SUBSCRIBE") == 2)
            publisher.send("/queue/a", "good")
            notes.wait(10)
            assert settled(broker)
            assert eventually(lambda: worker.is_alive)
            assert running.stop() == 0
        assert "is broken" in (shown := capsys.readouterr().err) or "is full" in shown

    def test_one_that_exits_the_thread_costs_no_message(self, broker, publisher, start):
        """A `SystemExit` in a log handler: it comes out of the worker's own code, where no handler runs."""
        notes = Notes(lambda message: fail(message) if message.payload == "bad" else None)
        worker = Worker(broker.url, concurrency=1, max_redeliveries=1, retry_delay=0.001)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        handler = Raises(SystemExit(3))
        handler.setLevel(logging.ERROR)
        with attached(handler):
            for _ in range(4):
                publisher.send("/queue/a", "bad")
            publisher.send("/queue/a", "good")
            broker.wait_for("/queue/DLQ", 4)
            assert settled(broker)
        assert worker.is_alive
        assert notes.payloads.count("good") == 1


class TestNothingElseOfTheApplicationStopsAWorker:
    @pytest.mark.parametrize("error", [RuntimeError("no context"), SystemExit(1), tasks.TextRaises(7)])
    @pytest.mark.parametrize("when", ["called", "entered", "left"])
    def test_an_around_that_raises(self, broker, publisher, start, error, when):
        class Around:
            def __enter__(self) -> None:
                if when == "entered":
                    raise error

            def __exit__(self, *_: object) -> None:
                if when == "left":
                    raise error

        def around() -> typing.Any:
            if when == "called":
                raise error
            return Around()

        worker = Worker(broker.url, concurrency=1, around=around, max_redeliveries=1, retry_delay=0.001)
        worker.subscribe("/queue/a")(Notes())
        start(worker)
        publisher.send_many([("/queue/a", number) for number in range(5)])
        assert len(broker.wait_for("/queue/DLQ", 5)) == 5
        assert settled(broker)
        assert worker.is_alive

    def test_an_around_that_raises_in_a_process(self, broker, publisher, start):
        worker = Worker(broker.url, processes=1, around=tasks.around_that_raises_at_the_end, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.handle)
        start(worker)
        publisher.send_many([("/queue/a", "good")] * 3)
        letters = broker.wait_for("/queue/DLQ", 3, LONG)
        assert {letter.headers["x-error"].partition(":")[0] for letter in letters} == {"TextRaises"}
        assert settled(broker)

    def test_a_handler_whose_repr_raises(self, broker, publisher, start):
        class Odd:
            def __call__(self, message: object) -> None:
                fail(message)

            def __repr__(self) -> str:
                raise RuntimeError("no repr")

        worker = Worker(broker.url, concurrency=1, max_redeliveries=1, retry_delay=0.001)
        worker.subscribe("/queue/a")(Odd())
        start(worker)
        publisher.send_many([("/queue/a", number) for number in range(5)])
        assert len(broker.wait_for("/queue/DLQ", 5)) == 5
        assert settled(broker)

    def test_a_progress_display_that_raises(self, broker, publisher, caplog):
        notes, calls = Notes(), []
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(notes)

        def on_progress(stats: object) -> None:
            calls.append(stats)
            if len(calls) == 3:
                worker.stop()
            raise RuntimeError("the terminal is gone")

        publisher.send("/queue/a", 1)
        assert worker.run(on_progress=on_progress) == 0
        assert len(calls) >= 3
        assert notes.payloads == [1]
        assert caplog.text.count("on_progress has failed") == 1

    def test_a_fault_of_the_worker_itself_costs_no_message(self, broker, publisher, start, monkeypatch):
        """An unexpected error in the middle: the message is tried again all the same."""
        from stomp_web.worker.acknowledger import Acknowledger

        succeeded, raised = Acknowledger.succeeded, []

        def once(acknowledger, delivery):
            if not raised:
                raised.append(1)
                raise MemoryError
            succeeded(acknowledger, delivery)

        monkeypatch.setattr(Acknowledger, "succeeded", once)
        notes = Notes()
        worker = Worker(broker.url, concurrency=1, retry_delay=0.001)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(2)
        assert settled(broker)
        assert worker.is_alive


async def coroutine(message):
    raise AssertionError("nothing runs this")


def generator(message):
    yield


async def async_generator(message):
    yield


@types.coroutine
def old_coroutine(message):
    yield


class AsyncCall:
    async def __call__(self, message):
        raise AssertionError("nothing runs this")


class GeneratorCall:
    def __call__(self, message):
        yield


class WithMethods:
    async def method(self, message):
        raise AssertionError("nothing runs this")

    @staticmethod
    async def static(message):
        raise AssertionError("nothing runs this")

    @classmethod
    async def of_the_class(cls, message):
        raise AssertionError("nothing runs this")


NEVER_RUN = {
    "async def": coroutine,
    "partial": functools.partial(coroutine),
    "partial of a partial": functools.partial(functools.partial(coroutine)),
    "async __call__": AsyncCall(),
    "partial of async __call__": functools.partial(AsyncCall()),
    "a bound __call__": AsyncCall().__call__,
    "method": WithMethods().method,
    "static method": WithMethods.__dict__["static"],
    "class method": WithMethods.of_the_class,
    "sync_to_async": sync_to_async(fail),
    "generator": generator,
    "generator __call__": GeneratorCall(),
    "partial of a generator": functools.partial(generator),
    "async generator": async_generator,
    "types.coroutine": old_coroutine,
}
SEEN_WHEN_CALLED = {
    "traced": tasks.traced(coroutine),
    "lambda": lambda message, more=1: coroutine(message),
    "lambda around sync_to_async": lambda message, more=1: sync_to_async(fail)(message),
    "traced generator": tasks.traced(generator),
    "traced async generator": tasks.traced(async_generator),
    "lambda around async __call__": lambda message, more=1: AsyncCall()(message),
}


class TestHandlersThatWouldNeverRun:
    @pytest.mark.parametrize("name", NEVER_RUN)
    def test_what_can_be_seen_is_refused_with_the_way_out(self, name):
        with pytest.raises(ConfigurationError, match=r"(async|generator).*async_to_sync"):
            Handlers().subscribe("/queue/a")(NEVER_RUN[name])

    @pytest.mark.parametrize("name", NEVER_RUN)
    def test_in_flask_and_django_too(self, name, monkeypatch):
        from stomp_web.django import handlers as django_handlers
        from stomp_web.flask import Stomp

        monkeypatch.setattr(django_handlers, "handlers_by_alias", {})
        for subscribe in (Stomp().subscribe, django_handlers.subscribe):
            with pytest.raises(ConfigurationError, match=r"(async|generator).*async_to_sync"):
                subscribe("/queue/a")(NEVER_RUN[name])

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("name", SEEN_WHEN_CALLED)
    def test_what_is_seen_when_it_is_called_is_a_failure(self, broker, publisher, start, name):
        worker = Worker(broker.url, concurrency=1, max_redeliveries=1, retry_delay=0.001)
        worker.subscribe("/queue/a")(SEEN_WHEN_CALLED[name])
        start(worker)
        publisher.send("/queue/a", 1)
        (letter,) = broker.wait_for("/queue/DLQ")
        assert letter.headers["x-error"].startswith("TypeError: the handler returned ")
        assert "async_to_sync" in letter.headers["x-error"]
        assert settled(broker)
        assert worker.stats().handled == 0

    def test_a_class_whose_objects_can_be_awaited(self, broker, publisher, start):
        class Job:
            def __init__(self, message):
                pass

            def __await__(self):
                yield

        worker = Worker(broker.url, max_redeliveries=0)
        worker.subscribe("/queue/a")(Job)
        start(worker)
        publisher.send("/queue/a", 1)
        assert "returned Job" in broker.wait_for("/queue/DLQ")[0].headers["x-error"]

    def test_in_a_process(self, broker, publisher, start):
        worker = Worker(broker.url, processes=1, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.traced_coroutine)
        start(worker)
        publisher.send("/queue/a", 1)
        letter = broker.wait_for("/queue/DLQ", timeout=LONG)[0]
        assert letter.headers["x-error"].startswith("TypeError: the handler returned coroutine")
        assert worker.stats().handled == 0

    @pytest.mark.parametrize("handler", [7, WithMethods.__dict__["of_the_class"], "tasks.handle"])
    def test_what_cannot_be_called(self, handler):
        with pytest.raises(ConfigurationError, match="cannot be called"):
            Handlers().subscribe("/queue/a")(handler)

    def test_an_async_function_that_is_run_is_a_handler(self, broker, publisher, start):
        import asyncio

        ran = Notes()

        async def work(message):
            await asyncio.sleep(0)
            ran(message)

        worker = Worker(broker.url, concurrency=1)
        worker.subscribe("/queue/a")(async_to_sync(work))
        worker.subscribe("/queue/b")(lambda message: asyncio.run(work(message)))
        start(worker)
        publisher.send("/queue/a", 1)
        publisher.send("/queue/b", 2)
        assert sorted(message.payload for message in ran.wait(2)) == [1, 2]
        assert settled(broker)
        assert settled(broker, "/queue/b")


CHILDREN = [
    "child returns",
    "child returns, not waited for",
    "child raises",
    "child raises what has no text",
    "child exits",
    "child exits with a text",
]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # from Python 3.12 on
class TestAHandlerThatForks:
    """The child returns into the worker's code, and must not answer for its parent."""

    @pytest.mark.parametrize("child", CHILDREN)
    def test_in_a_process_no_outcome_is_shifted(self, broker, publisher, start, child):
        worker = Worker(broker.url, processes=1, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.fork)
        start(worker)
        publisher.send_many(
            [("/queue/a", payload) for payload in (child, "good", "parent fails", "good", "parent fails", "good")]
        )
        letters = broker.wait_for("/queue/DLQ", 2, LONG)
        assert settled(broker)
        assert [(letter.body, letter.headers["x-error"]) for letter in letters] == [
            (b'"parent fails"', "LookupError: as it should")
        ] * 2
        assert (worker.stats().handled, worker.stats().failed) == (4, 2)

    @pytest.mark.parametrize("child", CHILDREN)
    def test_in_a_thread_the_child_takes_no_messages(self, broker, publisher, start, child):
        worker = Worker(broker.url, concurrency=1, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.fork)
        start(worker)
        publisher.send_many([("/queue/a", payload) for payload in (child, "good", "parent fails", "good")])
        letters = broker.wait_for("/queue/DLQ", 1, LONG)
        assert settled(broker)
        assert [letter.body for letter in letters] == [b'"parent fails"']
        assert (worker.stats().handled, worker.stats().failed) == (3, 1)
        assert broker.received("ACK") == 4
        assert worker.is_alive

    def test_a_child_that_is_forked_around_the_handler(self, broker, publisher, start):
        worker = Worker(broker.url, processes=1, around=tasks.around_that_forks, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.leave_behind)
        start(worker)
        publisher.send_many([("/queue/a", payload) for payload in ("good", "fail", "good", "fail")])
        letters = broker.wait_for("/queue/DLQ", 2, LONG)
        assert settled(broker)
        assert [letter.body for letter in letters] == [b'"fail"', b'"fail"']
        assert worker.stats().handled == 2

    def test_a_child_that_is_forked_by_the_initializer(self, broker, publisher, start):
        worker = Worker(broker.url, processes=1, initializer=tasks.initializer_that_forks, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.leave_behind)
        start(worker)
        publisher.send_many([("/queue/a", payload) for payload in ("good", "fail")])
        assert [letter.body for letter in broker.wait_for("/queue/DLQ", 1, LONG)] == [b'"fail"']
        assert settled(broker)

    def test_the_child_says_why_it_ends(self, broker, publisher, start, capfd):
        worker = Worker(broker.url, concurrency=1, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.fork)
        start(worker)
        publisher.send("/queue/a", "child raises")
        assert settled(broker)
        shown = capfd.readouterr().err
        assert "LookupError: in the child" in shown
        assert "a handler has forked" in shown


@pytest.mark.parametrize("error", [OSError("no more processes"), SystemExit(3)])
def test_a_process_that_cannot_be_started_ends_the_run_with_the_reason(broker, monkeypatch, error):
    from stomp_web.worker.processes import ProcessExecutor

    def start(executor):
        raise error

    monkeypatch.setattr(ProcessExecutor, "start", start)
    worker = Worker(broker.url, processes=1)
    worker.subscribe("/queue/a")(tasks.leave_behind)
    running = Running(worker)
    try:
        assert running.ended()
    finally:
        worker.stop()
    assert type(error).__name__ in str(running.error)


@pytest.mark.parametrize("left", ["a thread", "a thread that exits", "sys.exit", "os._exit", "no descriptors"])
def test_what_a_handler_leaves_in_its_process_shifts_no_outcome(broker, publisher, start, left):
    worker = Worker(broker.url, processes=1, max_redeliveries=0)
    worker.subscribe("/queue/a")(tasks.leave_behind)
    running = start(worker)
    publisher.send_many([("/queue/a", payload) for payload in (left, "good", "fail", left, "good", "fail", "good")])
    letters = broker.wait_for("/queue/DLQ", 2 if "thread" in left else 4, LONG)
    assert settled(broker)
    failed = [letter.body.decode() for letter in letters]
    assert failed == (['"fail"', '"fail"'] if "thread" in left else [f'"{left}"', '"fail"', f'"{left}"', '"fail"'])
    assert running.stop() == 0
