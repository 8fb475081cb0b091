"""A worker keeps its connection: it waits for a broker, connects again, fails over, and says when it is not alive."""

from __future__ import annotations

import functools
import os
import threading

import pytest

from stomp_web import AuthenticationFailed, ConfigurationError, InvalidFrame, Rejected, StompError
from stomp_web.broker import Broker
from stomp_web.worker import Handlers, Worker, supervisor
from tests.broker.clock import Clock
from tests.brokers.ports import free_ports
from tests.client.scripted import eventually
from tests.error_texts import faults_in
from tests.worker.running import PATIENCE, Notes, Running, open_files, own_threads, patient, settled


def test_a_broker_that_is_not_there_yet_is_waited_for():
    (port,) = free_ports(1)
    broker = Broker(port=port)
    notes = Notes()
    worker = Worker(f"stomp://127.0.0.1:{broker.port}")
    worker.subscribe("/queue/a")(notes)
    running = Running(worker)
    assert eventually(own_threads)
    assert not worker.is_alive
    with broker, patient(broker) as publisher:
        running.alive()
        publisher.send("/queue/a", 1)
        notes.wait(1)
        assert running.stop() == 0


@pytest.mark.parametrize(("pause", "when"), [(0.04, "at once"), (0.26, "in 0.3 s")])
def test_what_the_broker_says_with_a_full_stop_is_logged_with_one(broker, start, caplog, monkeypatch, pause, when):
    monkeypatch.setattr(supervisor, "back_off", lambda failures: pause)
    broker.faults.error("CONNECT", "Broker is starting. Please wait.")
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(Notes())
    start(worker)
    (line,) = [record.getMessage() for record in caplog.records if "is starting" in record.getMessage()]
    assert faults_in(line) == []
    assert line.endswith(f" Connecting again {when}")


def test_a_lost_connection_is_opened_again_with_its_subscriptions(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(notes)
    worker.subscribe("/queue/b")(notes)
    start(worker)
    for number in range(4):
        broker.faults.close_connections(reset=number % 2 == 1)
        assert broker.wait_until(lambda: broker.subscribers("/queue/a") == broker.subscribers("/queue/b") == 1)
        assert eventually(lambda: worker.is_alive)
        publisher.send("/queue/a", number)
        publisher.send("/queue/b", number)
    notes.wait(8)
    assert worker.stats().connects == 5


@pytest.mark.parametrize("time", range(10))
def test_a_connection_that_is_lost_while_the_loop_begins_is_opened_again_with_its_subscriptions(start, time):
    """A hand sees it before the reader does, which must not connect by itself: nothing would be subscribed there."""
    with Broker() as broker, patient(broker) as publisher:
        publisher.send_many([("/queue/a", number) for number in range(4)])
        broker.faults.drop("ACK")
        notes = Notes()
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(notes)
        running = Running(worker)
        assert settled(broker)
        assert set(notes.payloads) == {0, 1, 2, 3}
        assert running.stop() == 0


def test_an_error_of_the_broker_is_a_lost_connection(broker, publisher, start):
    """RabbitMQ cancels a single subscription with an ERROR, for instance when its queue is deleted."""
    notes = Notes()
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    broker.faults.error_unasked("Server cancelled subscription", close=False)
    assert broker.wait_until(lambda: broker.received("SUBSCRIBE") == 2)
    publisher.send("/queue/a", 1)
    notes.wait(1)


def test_an_acknowledgement_of_an_earlier_session_is_not_sent_in_a_later_one(broker, publisher, start):
    release = threading.Event()

    def handle(message):
        if not message.redelivered:
            release.wait(PATIENCE)

    notes = Notes(handle)
    worker = Worker(broker.url, concurrency=2)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send("/queue/a", "held")
    notes.wait(1)
    broker.faults.close_connections()
    notes.wait(2)  # it came again, in a new session, while the first handler is still at it
    assert broker.wait_until(lambda: broker.received("ACK") == 1)
    publisher.send("/queue/a", "next")  # its ack id would be the one that the held message had
    notes.wait(3)
    release.set()
    assert eventually(lambda: worker.stats().stale == 1)
    assert [message.redelivered for message in notes.messages] == [False, True, False]
    assert broker.wait_until(lambda: broker.received("ACK") == 2)
    assert worker.is_alive  # an ACK for an unknown message would be answered by an ERROR


def test_messages_that_were_not_begun_are_not_handled_twice(broker, publisher, start):
    release = threading.Event()
    notes = Notes(lambda message: message.payload or release.wait(PATIENCE))
    worker = Worker(broker.url, concurrency=1, prefetch=50)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send_many([("/queue/a", number) for number in range(50)])
    assert broker.wait_until(lambda: len(broker.unacknowledged("/queue/a")) == 50)
    notes.wait(1)
    broker.faults.close_connections()
    assert broker.wait_until(lambda: len(broker.unacknowledged("/queue/a")) == 50 and broker.received("CONNECT") == 3)
    release.set()
    notes.wait(51)
    assert broker.wait_until(lambda: not broker.unacknowledged("/queue/a"))
    assert notes.payloads == [0, *range(50)]  # the one that was in the handler comes twice, and the order is kept


def test_a_failure_in_an_earlier_session_is_the_broker_s_to_repeat(broker, publisher, start):
    release = threading.Event()

    def handle(message):
        if not message.redelivered:
            release.wait(PATIENCE)
            raise LookupError

    notes = Notes(handle)
    worker = Worker(broker.url, concurrency=1, max_redeliveries=0)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send("/queue/a", 1)
    notes.wait(1)
    broker.faults.close_connections()
    assert broker.wait_until(lambda: broker.received("SUBSCRIBE") == 2)
    assert eventually(lambda: worker.is_alive)
    release.set()
    notes.wait(2)
    assert broker.wait_until(lambda: not broker.unacknowledged("/queue/a"))
    assert broker.messages("/queue/DLQ") == []


def test_it_fails_over_to_another_broker(start):
    with Broker() as second, patient(second) as publisher:
        notes = Notes()
        with Broker() as first:
            worker = Worker(f"stomp://127.0.0.1:{first.port},127.0.0.1:{second.port}")
            worker.subscribe("/queue/a")(notes)
            running = start(worker)
            assert (first.sessions, second.sessions) == (1, 0)
        assert second.wait_until(lambda: second.subscribers("/queue/a"))
        publisher.send("/queue/a", 1)
        notes.wait(1)
        assert running.stop() == 0


def test_two_hundred_reconnects_leave_threads_and_descriptors_as_they_were(broker, publisher, start, monkeypatch):
    monkeypatch.setattr("stomp_web.pool.breaker.random.uniform", lambda low, high: 0.0)

    def threads_and_files():
        return {*threading.enumerate(), *open_files()}

    others = threads_and_files()  # of earlier tests, too: they may end at any time
    notes = Notes()
    worker = Worker(broker.url, concurrency=2)
    worker.subscribe("/queue/a")(notes)
    start(worker)

    def held():
        ours = threads_and_files() - others
        threads = sum(isinstance(each, threading.Thread) for each in ours)
        return threads, len(ours) - threads

    def again(number):
        broker.faults.close_connections()
        assert broker.wait_until(lambda: broker.received("SUBSCRIBE") == number + 1)
        assert eventually(lambda: worker.is_alive)

    again(1)
    publisher.send("/queue/a", 1)
    notes.wait(1)
    before = held()
    for number in range(2, 202):
        again(number)
    publisher.send("/queue/a", 2)
    notes.wait(2)
    assert eventually(lambda: held() == before), (before, held())


def test_a_program_with_many_descriptors_is_none_too_big(broker, publisher, start):
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        notes = Notes()
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(notes)
        running = start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(1)
        assert running.stop() == 0
    finally:
        for descriptor in held:
            os.close(descriptor)


class TestIsAlive:
    def test_it_is_not_before_and_not_after(self, broker, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        assert not worker.is_alive
        running = start(worker)
        assert worker.is_alive
        running.stop()
        assert not worker.is_alive

    def test_it_is_not_while_the_broker_is_away(self, broker, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        start(worker)
        broker.stop()
        assert eventually(lambda: not worker.is_alive)
        broker.start()
        assert eventually(lambda: worker.is_alive, PATIENCE)

    def test_it_is_not_when_the_broker_has_fallen_silent(self, broker, start):
        worker = Worker(broker.url, heart_beat=(0, 100))
        worker.subscribe("/queue/a")(Notes())
        start(worker)
        broker.faults.freeze()
        assert eventually(lambda: not worker.is_alive)
        broker.faults.thaw()

    def test_it_is_while_handlers_fail_or_take_long(self, broker, publisher, start):
        release = threading.Event()
        worker = Worker(broker.url, concurrency=1)
        notes = Notes(lambda message: release.wait(PATIENCE))
        worker.subscribe("/queue/a")(notes)
        start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(1)
        assert worker.is_alive
        release.set()


def test_a_handler_that_takes_long_does_not_hold_up_the_heart_beats(monkeypatch):
    clock = Clock(monkeypatch, speed=0.001)  # the worker beats every 0.05 s, and the broker's 0.2 s are 200 s
    with Broker(heart_beat=(0, 100)) as broker, patient(broker) as publisher:
        over = threading.Event()
        worker = Worker(broker.url, concurrency=1, heart_beat=(100, 0))
        notes = Notes(lambda message: over.wait(PATIENCE))
        worker.subscribe("/queue/a")(notes)
        running = Running(worker).alive()
        (connection,) = (each for each in broker._loop.connections.values() if each.session.subscriptions)
        publisher.send("/queue/a", 1)
        notes.wait(1)
        for _ in range(10):
            before = connection._last_read
            assert eventually(lambda before=before: connection._last_read > before), "no heart-beat came"
            clock.forward(broker, 0.15)
        assert broker.received("ACK") == 0
        over.set()
        assert settled(broker)
        assert running.stop() == 0
        assert worker.stats().connects == 1
        assert broker.received("ACK") == 1


class TestRefused:
    def test_a_wrong_passcode_ends_it(self):
        with Broker(login="a", passcode="s3cret") as broker:
            worker = Worker(f"stomp://a:wrong@127.0.0.1:{broker.port}")
            worker.subscribe("/queue/a")(Notes())
            with pytest.raises(AuthenticationFailed):
                worker.run()
            assert own_threads() == []
            assert "wrong" not in repr(worker)

    def test_a_refused_subscription_ends_it(self):
        with Broker(denied=("/queue/private",)) as broker:
            worker = Worker(broker.url)
            worker.subscribe("/queue/private")(Notes())
            with pytest.raises(Rejected, match="denied"):
                worker.run()
            assert own_threads() == []
            assert broker.wait_until(lambda: not broker.connections)

    @pytest.mark.parametrize(
        ("message", "body"),
        [
            ("access_refused", "ACCESS_REFUSED - access to queue 'a' in vhost '/' refused for user 'reader'"),
            ("precondition_failed", "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'a'"),
            ("Unknown destination", "'/foo/bar' is not a valid destination."),
            ("Invalid destination", "'/a/b' is not a valid queue destination"),
            ("User reader is not authorized to read from: queue://a", "java.lang.SecurityException: User reader"),
            ("a =", "javax.jms.InvalidSelectorException: a =\n\tat org.apache.activemq"),
        ],
    )
    def test_a_subscription_that_is_refused_for_good_ends_it(self, broker, message, body):
        broker.faults.error("SUBSCRIBE", message, body)
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        with pytest.raises(Rejected):
            worker.run()
        assert own_threads() == []

    @pytest.mark.parametrize(
        ("message", "body"),
        [
            ("Processing error", "Processing error"),
            ("not_found", "NOT_FOUND - no queue 'a' in vhost '/'"),
            ("resource_locked", "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'a' in vhost '/'"),
            (
                "Durable consumer is in use for client: shop and subscriptionName: kept",
                "javax.jms.JMSException: Durable consumer",
            ),
            ("internal_error", "INTERNAL_ERROR"),
            ("", ""),
        ],
    )
    def test_one_that_is_refused_for_now_is_tried_again_also_at_the_first_connection(
        self, broker, publisher, start, caplog, message, body
    ):
        broker.faults.error("SUBSCRIBE", message, body, times=2)
        notes = Notes()
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(notes)
        running = start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(1)
        assert running.stop() == 0
        assert broker.received("SUBSCRIBE") == 3
        assert f"answered ERROR: {message}" in caplog.text

    def test_it_can_be_stopped_while_it_tries(self, broker):
        broker.faults.error("SUBSCRIBE", "not_found", "NOT_FOUND - no queue 'a' in vhost '/'", times=None)
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        running = Running(worker)
        assert broker.wait_until(lambda: broker.received("SUBSCRIBE") >= 2)
        assert not worker.is_alive
        assert running.stop() == 0

    def test_the_same_after_it_was_connected_is_tried_again(self, broker, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        start(worker)
        broker.faults.error("SUBSCRIBE", "Access denied for a while", times=2)
        broker.faults.close_connections()
        assert broker.wait_until(lambda: broker.received("SUBSCRIBE") == 4, PATIENCE)
        assert eventually(lambda: worker.is_alive)

    def test_it_cannot_be_run_twice_at_a_time(self, broker, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        running = start(worker)
        with pytest.raises(StompError, match="running already"):
            worker.run()
        running.stop()
        start(worker)  # but again afterwards

    def test_without_a_handler_there_is_nothing_to_run(self, broker):
        with pytest.raises(ConfigurationError, match="no handler"):
            Worker(broker.url).run()
        assert broker.connections_accepted == 0

    def test_a_serializer_that_does_not_exist(self, broker):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a", accept=("yaml",))(Notes())
        with pytest.raises(ConfigurationError, match="yaml"):
            worker.run()

    @pytest.mark.parametrize("scheme", ["memory", "console", "null"])
    def test_addresses_without_a_broker(self, scheme):
        with pytest.raises(ConfigurationError, match="needs a broker"):
            Worker(f"{scheme}://")

    @pytest.mark.parametrize(
        "options",
        [
            {"concurrency": 0},
            {"concurrency": True},
            {"processes": -1},
            {"prefetch": 0},
            {"max_redeliveries": -1},
            {"retry_delay": 0},
            {"retry_delay": "1"},
            {"grace": float("inf")},
            {"deduplicate": 1.5},
            {"timeout": 0},
            {"heart_beat": "often"},
        ],
    )
    def test_a_bad_value_is_named(self, options):
        (name,) = options
        with pytest.raises(ConfigurationError, match=name):
            Worker(**options)

    def test_an_unknown_option_gets_the_nearest_name(self):
        with pytest.raises(ConfigurationError, match="did you mean prefetch"):
            Worker(prefetched=3)
        with pytest.raises(ConfigurationError, match="no option pool_size"):
            Worker(pool_size=3)

    def test_options_of_a_publisher_in_a_shared_address_are_left_alone(self, broker, publisher, start):
        notes = Notes()
        worker = Worker(f"{broker.url}?pool_size=4&timeout=7")
        worker.subscribe("/queue/a")(notes)
        start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(1)

    @pytest.mark.parametrize("destination", ["", None, "/queue/a\nb"])
    def test_what_is_no_destination(self, destination):
        with pytest.raises(InvalidFrame):
            Worker().subscribe(destination)
        with pytest.raises(InvalidFrame):
            Worker(dead_letter=destination)

    def test_what_is_no_ack_mode(self):
        with pytest.raises(InvalidFrame, match="sometimes"):
            Handlers().subscribe("/queue/a", ack="sometimes")

    def test_an_async_handler(self):
        async def handle(message):
            pass

        with pytest.raises(ConfigurationError, match="async"):
            Handlers().subscribe("/queue/a")(handle)

    @pytest.mark.parametrize("handler", [lambda: None, lambda message, extra: None, lambda *, message: None])
    def test_a_handler_that_takes_no_message(self, handler):
        with pytest.raises(ConfigurationError, match="one argument"):
            Handlers().subscribe("/queue/a")(handler)

    def test_an_object_that_takes_no_message(self):
        with pytest.raises(ConfigurationError, match=r"partial.*one argument"):
            Handlers().subscribe("/queue/a")(functools.partial(lambda a, b, c: None, 1))

    @pytest.mark.parametrize(
        "handler",
        [
            print,
            lambda *arguments: None,
            lambda message, more=1: None,
            functools.partial(lambda more, message: None, 1),
            Notes(),
        ],
    )
    def test_a_handler_that_takes_a_message_is_none_of_these(self, handler):
        assert Handlers().subscribe("/queue/a")(handler) is handler

    def test_a_decorator_may_give_what_the_message_does_not(self):
        def with_session(function):
            @functools.wraps(function)
            def call(message):
                function(message, "session")

            return call

        @with_session
        def handle(message, session):
            pass

        assert Handlers().subscribe("/queue/a")(handle) is handle

    def test_two_handlers_of_one_queue(self):
        handlers = Handlers()
        handlers.subscribe("/queue/a")(Notes())
        with pytest.raises(ConfigurationError, match="handled by"):
            handlers.subscribe("/queue/a")(Notes())
        handlers.subscribe("/queue/a", headers={"selector": "x = 1"})(Notes())
        handlers.subscribe("/topic/a")(Notes())
        handlers.subscribe("/topic/a")(Notes())

    def test_two_subscriptions_of_one_id(self):
        handlers = Handlers()
        handlers.subscribe("/queue/a", id="mine")(Notes())
        with pytest.raises(ConfigurationError, match="'mine'"):
            handlers.subscribe("/queue/b", id="mine")(Notes())


def test_a_body_that_is_too_big_for_a_queue_of_one_is_no_problem(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url, concurrency=1, prefetch=1)
    worker.subscribe("/queue/a", accept=("bytes",))(notes)
    start(worker)
    body = os.urandom(2_000_000)
    publisher.send("/queue/a", body, serializer="bytes")
    assert notes.wait(1)[0].body == body


def test_many_messages_of_an_auto_subscription_are_not_lost_when_there_is_no_room(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url, concurrency=2, prefetch=1)
    worker.subscribe("/queue/a", ack="auto")(notes)
    start(worker)
    publisher.send_many([("/queue/a", number) for number in range(2000)])
    notes.wait(2000)
    assert sorted(notes.payloads) == list(range(2000))
