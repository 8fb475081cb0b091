"""The collector records what one context sends: each message with its outcome, and nothing of others."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import threading

import pytest

from stomp_web import ConnectionLost, DeliveryUnknown, InvalidFrame, NotSent, Publisher, Rejected
from stomp_web.observers import SendBegan, SendSucceeded, installers
from stomp_web.panels import Collection, make_report, watch
from stomp_web.panels.collector import LIMIT, Outcome, collector
from stomp_web.worker import Worker
from tests.client.scripted import eventually
from tests.wsgi.helpers import in_threads, run_python

PATIENCE = 60.0


def outcomes(collection):
    return [record.outcome for record in collection.records]


class TestOutcomes:
    def test_a_confirmed_message(self, publisher, collection):
        message_id = publisher.send("/queue/orders", "Zoë")
        (record,) = collection.records
        assert (record.message_id, record.destination, record.body_bytes) == (message_id, "/queue/orders", 6)
        assert (record.outcome, record.error, record.sends, record.together) == (Outcome.CONFIRMED, "", 1, 1)
        assert 0 < record.seconds == collection.seconds

    def test_a_message_without_a_receipt(self, publisher, collection):
        publisher.send("/queue/orders", 1, confirm=False)
        assert outcomes(collection) == [Outcome.SENT]

    def test_a_message_that_was_not_sent(self, publisher, collection, broker):
        broker.stop()
        with pytest.raises(NotSent) as failure:
            publisher.send("/queue/orders", 1, timeout=PATIENCE)
        (record,) = collection.records
        assert record.outcome is Outcome.NOT_SENT
        assert record.error == f"BrokerUnavailable: {failure.value}"

    def test_a_message_that_the_broker_refused(self, publisher, collection, broker):
        broker.faults.error("SEND", "Access refused")
        with pytest.raises(Rejected):
            publisher.send("/queue/orders", 1)
        assert outcomes(collection) == [Outcome.REJECTED]
        assert "Access refused" in collection.records[0].error

    def test_a_message_that_may_have_arrived(self, publisher, collection, broker):
        broker.faults.close_before_receipt("SEND")
        with pytest.raises(ConnectionLost):
            publisher.send("/queue/orders", 1)
        assert outcomes(collection) == [Outcome.UNKNOWN]

    def test_an_interrupted_send(self, publisher, collection, monkeypatch):
        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        publisher.send("/queue/orders", 1)
        with monkeypatch.context() as patch:
            patch.setattr("stomp_web.connection.session.Session.receipts_in_order", interrupt)
            with pytest.raises(KeyboardInterrupt):
                publisher.send("/queue/orders", 2)
        assert outcomes(collection) == [Outcome.CONFIRMED, Outcome.UNKNOWN]

    def test_a_header_of_another_observer_that_cannot_be_sent(self, memory, collection):
        def spoil(event):
            if isinstance(event, SendBegan):
                event.headers["receipt"] = "mine"

        memory.observers.add(spoil)
        with pytest.raises(InvalidFrame):
            memory.send("/queue/orders", 1)
        assert outcomes(collection) == [Outcome.NOT_SENT]

    def test_a_send_that_has_not_ended(self, publisher, collection, broker):
        """A thread of an event loop's executor may still wait for the broker when the response is ready."""
        broker.faults.mute("SEND")
        failures = []

        def send():
            with pytest.raises(DeliveryUnknown) as failure:
                publisher.send("/queue/orders", 1)
            failures.append(failure)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(send,))
        thread.start()
        assert eventually(lambda: broker.received("SEND") == 1, PATIENCE)
        collection.end()
        broker.stop()
        thread.join(PATIENCE)
        assert outcomes(collection) == [Outcome.SENDING]
        assert len(failures) == 1


class TestBatches:
    def test_each_message_has_a_record_and_the_time_counts_once(self, publisher, collection):
        with publisher.batch() as batch:
            batch.send("/queue/orders", 1)
            batch.send("/topic/orders", 2)
        first, second = collection.records
        assert [first.destination, second.destination] == ["/queue/orders", "/topic/orders"]
        assert first.together == second.together == 2
        assert first.seconds == second.seconds == collection.seconds

    def test_a_batch_that_fails_in_the_middle(self, publisher, collection, broker):
        broker.faults.close_before_receipt("SEND", after=1)
        with pytest.raises(ConnectionLost):
            publisher.send_many([("/queue/a", 1), ("/queue/b", 2), ("/queue/c", 3)])
        assert outcomes(collection) == [Outcome.CONFIRMED, Outcome.UNKNOWN, Outcome.UNKNOWN]

    def test_the_messages_behind_a_refused_one_were_not_sent(self, publisher, collection, broker):
        broker.faults.error("SEND", "No", after=1)
        with pytest.raises(Rejected) as failure:
            publisher.send_many([("/queue/a", 1), ("/queue/b", 2), ("/queue/c", 3)])
        assert failure.value.not_sent == (2,)
        assert outcomes(collection) == [Outcome.CONFIRMED, Outcome.REJECTED, Outcome.NOT_SENT]


class TestRepeatedMessages:
    def test_a_message_that_is_sent_again_keeps_its_record(self, publisher, collection, broker):
        message = publisher.prepare("/queue/orders", 1)
        broker.faults.error("SEND", "Not now")
        with pytest.raises(Rejected):
            publisher.deliver([message])
        assert outcomes(collection) == [Outcome.REJECTED]
        publisher.deliver([message])
        (record,) = collection.records
        assert (record.outcome, record.sends) == (Outcome.CONFIRMED, 2)
        assert "Not now" in record.error
        assert record.seconds == pytest.approx(collection.seconds)

    def test_one_id_and_two_destinations_are_two_messages(self, memory, collection):
        for destination in ("/queue/orders", "/topic/orders"):
            memory.send(destination, 1, {"x-message-id": "order-7"})
        assert [record.destination for record in collection.records] == ["/queue/orders", "/topic/orders"]


class TestContexts:
    def test_without_a_collection_nothing_is_recorded_and_no_events_are_made(self, memory):
        assert not memory.observers
        memory.send("/queue/orders", 1)
        assert not collector.listens()

    def test_after_the_end_nothing_is_recorded(self, memory, collection):
        collection.end()
        memory.send("/queue/orders", 1)
        assert collection.records == []
        assert not memory.observers

    def test_observers_that_always_listen_change_nothing(self, memory):
        events = []
        memory.observers.add(events.append)
        memory.send("/queue/orders", 1)
        ended = Collection()
        ended.begin()
        ended.end()
        memory.send("/queue/orders", 2)
        assert ended.records == []
        assert len(events) == 4

    def test_requests_in_threads_do_not_mix(self, publisher):
        both = threading.Barrier(2)

        def handle(number):
            collection = Collection()
            collection.begin()
            for _ in range(20):
                both.wait(PATIENCE)
                publisher.send(f"/queue/{number}", 1)
            collection.end()
            return [record.destination for record in collection.records]

        assert in_threads(2, handle) == [["/queue/0"] * 20, ["/queue/1"] * 20]

    def test_requests_in_one_event_loop_do_not_mix(self, publisher):
        async def handle(number, both):
            collection = Collection()
            collection.begin()
            for _ in range(5):
                await both.wait()
                await publisher.asend(f"/queue/{number}", 1)
            collection.end()
            return [record.destination for record in collection.records]

        async def main():
            both = asyncio.Barrier(2)
            return await asyncio.wait_for(asyncio.gather(*(handle(number, both) for number in range(2))), PATIENCE)

        assert asyncio.run(main()) == [["/queue/0"] * 5, ["/queue/1"] * 5]

    def test_a_thread_in_a_copy_of_the_context_belongs_to_the_request(self, memory, collection):
        async def main():
            await asyncio.to_thread(memory.send, "/queue/orders", 1)

        asyncio.run(main())
        assert len(collection.records) == 1

    def test_a_request_inside_of_another_one(self, memory, collection):
        inner = Collection()
        memory.send("/queue/a", 1)
        inner.begin()
        inner.begin()  # a toolbar may switch on twice
        memory.send("/queue/b", 1)
        inner.end()
        inner.end()
        memory.send("/queue/c", 1)
        assert [record.destination for record in inner.records] == ["/queue/b"]
        assert [record.destination for record in collection.records] == ["/queue/a", "/queue/c"]

    def test_a_request_may_end_in_another_context(self, memory):
        context = contextvars.copy_context()
        collection = Collection()
        context.run(collection.begin)
        collection.end()
        context.run(memory.send, "/queue/orders", 1)
        assert collection.records == []

    def test_an_observer_may_send_in_the_middle_of_a_send(self, memory, collection):
        def audit(event):
            if isinstance(event, SendBegan | SendSucceeded) and event.destination != "/queue/audit":
                memory.send("/queue/audit", event.message_id)

        memory.observers.known = (audit, *memory.observers.known)
        memory.send_many([("/queue/orders", 1), ("/queue/orders", 2)])
        found = sorted(record.destination for record in collection.records)
        assert found == ["/queue/audit"] * 4 + ["/queue/orders"] * 2
        assert set(outcomes(collection)) == {Outcome.CONFIRMED}


class TestBounds:
    def test_the_number_of_records_is_limited(self, memory, collection):
        memory.send_many([("/queue/orders", number) for number in range(LIMIT - 1)])
        assert not collection.is_full
        memory.send_many([("/queue/orders", number) for number in range(3)])
        memory.send("/queue/orders", 1)
        assert len(collection.records) == LIMIT
        assert collection.is_full
        assert set(outcomes(collection)) == {Outcome.CONFIRMED}

    def test_failures_behind_the_limit_count(self, publisher, collection, broker):
        publisher.send_many([("/queue/orders", number) for number in range(LIMIT)])
        publisher.send("/queue/orders", 1)
        assert collection.failures == 0
        for _ in range(2):
            broker.faults.error("SEND", "No")
            with pytest.raises(Rejected):
                publisher.send("/queue/orders", 1)
        assert collection.failures == 2
        assert make_report(collection)["subtitle"].endswith(", 2 failed")

    def test_no_error_is_kept(self, publisher, collection, broker):
        broker.faults.error("SEND")
        with pytest.raises(Rejected):
            publisher.send("/queue/orders", 1)
        assert isinstance(collection.records[0].error, str)  # an exception would keep its traceback


class TestWatching:
    def test_a_publisher_is_watched_once(self, memory):
        watch(memory)
        watch(memory, memory)
        assert memory.observers.known.count(collector) == 1
        assert copy.copy(memory).observers.known.count(collector) == 1
        assert len(installers) == len(set(installers))

    def test_a_publisher_that_was_made_before(self, collection):
        installers.clear()
        publisher = Publisher("memory://")
        assert collector not in publisher.observers.known
        watch(publisher)
        publisher.send("/queue/orders", 1)
        assert len(collection.records) == 1

    def test_threads_that_watch_together_watch_once(self):
        installers.clear()
        for _ in range(20):
            publisher = Publisher("memory://")
            in_threads(4, lambda number, publisher=publisher: watch(publisher))
            assert publisher.observers.known == (collector,)

    def test_a_worker_is_not_watched(self):
        assert Worker("stomp://127.0.0.1:61613").observers.known == ()

    def test_without_a_panel_nothing_of_it_is_loaded(self):
        done = run_python(
            "-c",
            "import sys, stomp_web.publisher, stomp_web.worker, stomp_web.wsgi\n"
            "print([each for each in sys.modules if 'panels' in each])",
        )
        assert done.stdout == "[]\n"
