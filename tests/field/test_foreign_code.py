"""Code of the application that the library calls: log handlers, observers, signal receivers. It may send, too.

Each of these sent its message through the publisher that had just reported something, and got nothing through: the
report was made while a lock, or the pool's only connection, was held.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import typing

import pytest

from stomp_web import BrokerUnavailable, PublishClient, Publisher, QueueingDuplexClient, StompError
from stomp_web._internal.notices import Notices
from stomp_web.broker import Broker
from stomp_web.publisher import Batch
from stomp_web.worker import Worker
from tests.brokers.ports import free_ports, lasting_broker
from tests.client.scripted import Server, eventually

#: Seconds after which a call counts as one that hangs.
PATIENCE = 150.0

_Lock = type(threading.Lock())


class SendingHandler(logging.Handler):
    """Ships each record of the library's clients and pools to a queue, through *send*."""

    def __init__(self, send: typing.Callable[[str], object]) -> None:
        super().__init__()
        self.shipped: list[str] = []
        self.failures: list[BaseException] = []
        self._send = send
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(self._busy, "now", False):
            return  # what it logs itself would never end
        self._busy.now = True
        try:
            self._send(record.getMessage())
            self.shipped.append(record.getMessage())
        except StompError as error:
            self.failures.append(error)
        finally:
            self._busy.now = False


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def handle(request):
    """Installs a log handler for what the clients and the pool log, until the test ends."""
    loggers = [logging.getLogger(f"stomp_web.{name}") for name in ("client", "pool", "observers", "worker")]

    def install(handler: logging.Handler) -> None:
        for logger in loggers:
            level = logger.level
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
            request.addfinalizer(lambda logger=logger: logger.removeHandler(handler))
            request.addfinalizer(lambda logger=logger, level=level: logger.setLevel(level))

    return install


def shipping_through(publisher: Publisher) -> SendingHandler:
    return SendingHandler(lambda text: publisher.send("/queue/log", text, serializer="text"))


class TestALogHandlerThatPublishes:
    @pytest.mark.parametrize("pool_size", [1, 8])
    def test_the_first_message_of_a_publisher_reaches_the_broker_and_so_does_its_log_record(
        self, broker, handle, pool_size
    ):
        with Publisher(broker.url, pool_size=pool_size, timeout=PATIENCE) as publisher:
            handler = shipping_through(publisher)
            handle(handler)
            publisher.send("/queue/a", 1)
            (shipped,) = handler.shipped
            assert shipped.startswith("connected to ")
            assert not handler.failures
            assert [len(broker.messages(queue)) for queue in ("/queue/a", "/queue/log")] == [1, 1]
            assert broker.connections_accepted == 1  # the handler had the connection that had just been opened

    @pytest.mark.parametrize("reset", [False, True])
    def test_a_connection_that_was_found_dead(self, broker, handle, reset):
        with Publisher(broker.url, pool_size=1, timeout=PATIENCE) as publisher:
            publisher.send("/queue/a", 1)
            handler = shipping_through(publisher)
            handle(handler)
            broker.faults.close_connections(reset=reset)
            assert broker.wait_until(lambda: broker.sessions == 0)
            publisher.send("/queue/a", 2)
            assert not handler.failures
            assert [text.split(" to ")[0] for text in handler.shipped] == ["the connection", "connected"]
            assert len(broker.messages("/queue/log")) == 2

    def test_an_error_to_an_unconfirmed_message(self, broker, handle):
        with Publisher(broker.url, pool_size=1, timeout=PATIENCE) as publisher:
            handler = shipping_through(publisher)
            handle(handler)
            broker.faults.error("SEND", "no room", times=1)
            publisher.send("/queue/a", 1, confirm=False)  # its log record is confirmed, and meets the ERROR of this one
            assert eventually(lambda: broker.sessions == 0 or len(broker.messages("/queue/log")) > 0)
            publisher.send("/queue/a", 2)
            assert broker.messages("/queue/a")[-1].body == b"2"

    def test_a_pool_that_is_closed(self, broker, handle):
        publisher = Publisher(broker.url, timeout=PATIENCE)
        publisher.send("/queue/a", 1, confirm=False)
        handler = shipping_through(publisher)
        handle(handler)
        broker.faults.error("DISCONNECT", "not now")
        publisher.close()
        assert [type(failure).__name__ for failure in handler.failures] == ["PoolClosed"]

    def test_while_the_breaker_opens_the_handler_is_told_at_once(self, handle):
        """An observer logs that connecting failed, and the handler's own send ends as fast as that of anybody else."""
        log = logging.getLogger("stomp_web.observers")

        def observe(event):
            if getattr(event, "change", "") == "connect_failed":
                log.warning("cannot connect to %s", event.broker)

        (port,) = free_ports(1)
        with Publisher(f"stomp://127.0.0.1:{port}", observers=[observe], pool_size=1, timeout=PATIENCE) as publisher:
            handler = shipping_through(publisher)
            handle(handler)
            with pytest.raises(BrokerUnavailable):
                publisher.send("/queue/a", 1)
            assert handler.failures
            assert {type(failure) for failure in handler.failures} == {BrokerUnavailable}
            assert not any("another call" in str(failure) for failure in handler.failures)

    def test_a_broker_that_closes_each_connection_does_not_keep_it_busy_for_ever(self, handle):
        """Each send of the handler makes new records, which it sends."""

        def script(peer):
            peer.accept()
            peer.receipt(peer.expect("SEND"))
            peer.close()

        with (
            Server(script) as server,
            Publisher(server.url, pool_size=1, timeout=PATIENCE, resend_unknown=True) as publisher,
        ):
            handler = shipping_through(publisher)
            handle(handler)
            ended = threading.Event()

            def send() -> None:
                publisher.send("/queue/a", 1)
                ended.set()

            thread = threading.Thread(target=send, daemon=True)
            thread.start()
            try:
                assert ended.wait(PATIENCE)
            finally:
                logging.disable()
                thread.join(PATIENCE)
                logging.disable(logging.NOTSET)
            assert 1 <= len(handler.shipped) + len(handler.failures) < 20

    def test_all_callers_at_once_on_the_smallest_pool(self, broker, handle):
        with Publisher(broker.url, pool_size=2, timeout=PATIENCE) as publisher:
            handler = shipping_through(publisher)
            handle(handler)
            barrier = threading.Barrier(6)
            failures: list[BaseException] = []

            def send(number: int) -> None:
                try:
                    barrier.wait(PATIENCE)
                    publisher.send("/queue/a", number)
                except BaseException as error:  # noqa: BLE001 - shown below
                    failures.append(error)

            threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            assert not failures
            assert not handler.failures
            assert len(broker.messages("/queue/a")) == 6
            assert len(broker.messages("/queue/log")) == len(handler.shipped) == broker.connections_accepted

    def test_through_the_client_that_reports(self, broker, handle):
        with PublishClient(*broker.address, timeout=PATIENCE) as client:
            client.disconnect()
            handler = SendingHandler(lambda text: client.send("/queue/log", text, confirm=True))
            handle(handler)
            client.send("/queue/a", "1", confirm=True)
            assert not handler.failures
            assert [frame.body[:12] for frame in broker.messages("/queue/log")] == [b"connected to"]

    def test_through_the_duplex_client_that_reports(self, broker, handle):
        client = QueueingDuplexClient(*broker.address, timeout=PATIENCE)
        handler = SendingHandler(lambda text: client.send("/queue/log", text, confirm=True))
        handle(handler)
        client.connect()
        client.send("/queue/a", "1", confirm=True)
        client.disconnect()
        assert not handler.failures
        assert [frame.body[:12] for frame in broker.messages("/queue/log")] == [b"connected to"]

    def test_what_a_handler_raises_does_not_become_the_outcome_of_the_message(self, broker, handle, capsys):
        class Broken(logging.Handler):
            def emit(self, record):
                raise ValueError("a handler without manners")

        handle(Broken())
        with Publisher(broker.url) as publisher:
            publisher.send("/queue/a", 1)
            assert publisher.stats().confirmed == 1
        assert "a handler without manners" in capsys.readouterr().err


def test_a_child_that_a_log_handler_forks_is_told_of_its_own():
    notices = Notices()
    told = []

    def fork() -> None:
        child = os.fork()
        if not child:
            notices.add(told.append, "child")
            notices.publish()
            os._exit(told != ["child"])
        told.append(os.waitpid(child, 0)[1])

    notices.add(fork)
    notices.publish()
    assert told == [0]


class TestAnObserverThatPublishes:
    def test_at_each_change_of_the_pool(self, broker):
        busy = threading.local()
        seen: list[tuple[str, BaseException | None]] = []

        def observe(event):
            change = getattr(event, "change", None)
            if change is None or getattr(busy, "now", False):
                return
            busy.now, failure = True, None
            try:
                publisher.send("/queue/audit", change)
            except StompError as error:
                failure = error
            finally:
                busy.now = False
            seen.append((change, failure))

        with Publisher(broker.url, observers=[observe], pool_size=1, timeout=PATIENCE) as publisher:
            publisher.send("/queue/a", 1)
            broker.faults.close_connections()
            assert broker.wait_until(lambda: broker.sessions == 0)
            publisher.send("/queue/a", 2)
            broker.faults.drop("SEND")
            with pytest.raises(StompError):
                publisher.send("/queue/a", 3)
        assert [change for change, _ in seen] == ["opened", "stale", "opened", "discarded", "opened", "closed"]
        assert [type(failure).__name__ for _, failure in seen] == [*["NoneType"] * 5, "PoolClosed"]
        assert len(broker.messages("/queue/audit")) == 5


class Held:
    """Which locks of the library each thread holds. While it is installed, the library's new locks are watched."""

    def __init__(self, monkeypatch) -> None:
        self.violations: list[str] = []
        self.calls = 0
        self._of_threads: dict[int, list[str]] = {}
        held = self._of_threads

        class Watched:
            def __init__(self, make, where: str) -> None:
                self._lock = make()
                self._where = where
                self._holder = 0

            def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
                taken = self._lock.acquire(blocking, timeout)
                if taken:
                    self._holder = threading.get_ident()
                    held.setdefault(self._holder, []).append(self._where)
                return taken

            def release(self) -> None:
                held[self._holder].remove(self._where)
                self._lock.release()

            def locked(self) -> bool:
                return self._lock.locked()

            def __enter__(self) -> bool:
                return self.acquire()

            def __exit__(self, *_: object) -> None:
                self.release()

            def _is_owned(self) -> bool:
                return self._where in held.get(threading.get_ident(), [])

        def watch(make):
            def made(*arguments):
                frame = sys._getframe(1)
                while frame.f_code.co_filename == threading.__file__:
                    frame = frame.f_back
                module, where = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
                # The latch of a `Box` is always locked but while it wakes a thread: it guards nothing.
                if not module.startswith("stomp_web.") or module == "stomp_web._internal.box":
                    return make(*arguments)
                return Watched(make, f"{module}:{where}:{frame.f_lineno}")

            return made

        monkeypatch.setattr(threading, "Lock", watch(threading.Lock))
        monkeypatch.setattr(threading, "RLock", watch(threading.RLock))

    def look(self, what: str) -> None:
        """Foreign code was called: note which locks its thread holds."""
        self.calls += 1
        holds = self._of_threads.get(threading.get_ident())
        if holds:
            self.violations.append(f"{what}: {holds}")


class Looking:
    """A payload whose own code is run by the serializer."""

    held: Held

    def __reduce__(self):
        self.held.look("serializer")
        return (object, ())


class LookingHandler(logging.Handler):
    def __init__(self, held: Held) -> None:
        super().__init__(logging.DEBUG)
        self.held = held
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.held.look(f"log record {record.getMessage()!r}")


@pytest.fixture
def held(monkeypatch) -> typing.Iterator[Held]:
    watching = Held(monkeypatch)
    logger = logging.getLogger("stomp_web")
    handler = LookingHandler(watching)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    watching.handler = handler
    yield watching
    logger.removeHandler(handler)
    logger.setLevel(level)


class TestNoLockIsHeld:
    """Whatever the library calls that is not its own, it holds none of its locks in that thread."""

    def test_the_watch_itself_sees_a_lock(self, held):
        of_the_library: dict[str, typing.Any] = {"__name__": "stomp_web.probe", "threading": threading}
        exec("def make():\n    return threading.Lock()\n", of_the_library)
        with of_the_library["make"]():
            held.look("probe")
        held.look("nothing")
        assert [violation.split(":")[0] for violation in held.violations] == ["probe"]

    def test_by_a_publisher(self, held):
        def observe(event):
            held.look(repr(event))

        with lasting_broker() as broker, Publisher(broker.url, observers=[observe], timeout=PATIENCE) as publisher:
            publisher.send("/queue/a", 1)
            publisher.send_many([("/queue/a", 1), ("/queue/a", 2)])
            assert isinstance(publisher.batch(), Batch)
            broker.faults.close_connections()
            assert broker.wait_until(lambda: broker.sessions == 0)
            publisher.send("/queue/a", 2)
            broker.faults.error("SEND", "no room")
            publisher.send("/queue/a", 3, confirm=False)
            assert eventually(lambda: broker.received("SEND") == 5)
            publisher.check()
            for fault in ("drop", "close_before_receipt"):
                getattr(broker.faults, fault)("SEND")
                with pytest.raises(StompError):
                    publisher.send("/queue/a", 4)
            broker.stop()
            with pytest.raises(BrokerUnavailable):
                publisher.send("/queue/a", 5)
        assert held.calls > 15
        assert {"stomp_web.client", "stomp_web.broker"} <= held.handler.names
        assert held.violations == []

    def test_by_a_pool_whose_connections_grow_old(self, held):
        options = {"observers": [lambda event: held.look(repr(event))], "max_lifetime": 1e-6}
        with Broker() as broker, Publisher(broker.url, **options) as publisher:
            publisher.send("/queue/a", 1)
            publisher.send("/queue/a", 2)
            assert publisher.stats().pool.retired == 1
        assert held.violations == []

    def test_by_a_serializer(self, held, broker):
        Looking.held = held
        with Publisher(broker.url, serializer="pickle") as publisher:
            publisher.send("/queue/a", Looking())
            publisher.send("/queue/a", Looking(), {"a": "b"})
            publisher.send_many([("/queue/a", Looking())])
        assert held.calls > 3
        assert held.violations == []

    def test_by_headers_of_a_mapping_of_the_applications_own(self, held):
        class Headers(dict):
            def items(self):
                held.look("headers")
                return super().items()

        with Broker() as broker:
            for versions in (("1.0",), ("1.1",), ("1.2",)):
                with PublishClient(*broker.address, versions=versions) as client:
                    client.send("/queue/a", b"1", Headers(a="b"), confirm=True)
        assert held.violations == []

    def test_by_a_worker(self, held):
        with Broker() as broker:
            worker = Worker(broker.url, concurrency=2, max_redeliveries=1, retry_delay=0.001, deduplicate=10)

            @worker.subscribe("/queue/a")
            def handle(message):
                held.look("handler")
                if message.payload == "bad":
                    raise ValueError("bad")

            thread = threading.Thread(target=lambda: worker.run(on_progress=lambda stats: held.look("progress")))
            thread.start()
            with Publisher(broker.url) as publisher:
                publisher.send_many([("/queue/a", "good"), ("/queue/a", "bad")])
            assert eventually(lambda: len(broker.messages("/queue/DLQ")) == 1, PATIENCE)
            broker.faults.close_connections()
            assert eventually(lambda: worker.stats().connects == 2, PATIENCE)
            worker.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert "stomp_web.worker" in held.handler.names
        assert held.violations == []

    def test_by_the_development_broker(self, held):
        with Broker() as broker, PublishClient(*broker.address) as client:
            client.send("/queue/a", b"1", confirm=True)
            assert broker.wait_until(lambda: held.look("condition") or broker.received("SEND"))
            broker.faults.error("SEND")
            with pytest.raises(StompError):
                client.send("/queue/a", b"1", confirm=True)
        assert held.violations == []
        assert "stomp_web.broker" in held.handler.names


def test_a_condition_that_is_waited_for_may_send_to_that_broker(broker):
    with Publisher(broker.url, timeout=PATIENCE) as publisher:
        numbers = iter(range(1000))

        def enough() -> bool:
            publisher.send("/queue/a", next(numbers))
            return len(broker.messages("/queue/a")) >= 3

        assert broker.wait_until(enough, PATIENCE)
