from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.test import Client, TestCase, override_settings

from stomp_web import (
    BrokerUnavailable,
    ConnectionLost,
    InvalidFrame,
    NotSent,
    ReceiptTimeout,
    Rejected,
    SerializationError,
)
from stomp_web.broker import Broker
from stomp_web.django import PublisherDoesNotExist, publisher, publishers, send
from stomp_web.observers import SendBegan, SendDeferred, SendSucceeded
from tests.django.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """A transaction, or a part of one, that ends in a rollback."""

    class Undo(Exception):
        pass

    with contextlib.suppress(Undo), transaction.atomic():
        yield
        raise Undo


def payloads() -> list[object]:
    return [message.payload for message in publisher.outbox]


def test_without_a_transaction_the_message_goes_at_once():
    identity = send("/queue/a", 1, on_commit=True)

    assert [message.id for message in publisher.outbox] == [identity]


def test_the_message_goes_after_the_commit_and_has_its_id_before():
    with transaction.atomic():
        identity = send("/queue/a", 1, on_commit=True)
        assert payloads() == []

    assert [message.id for message in publisher.outbox] == [identity]


def test_observers_are_told_that_a_message_waits_for_the_commit():
    events: list[object] = []
    publisher.observers.add(events.append)
    with transaction.atomic():
        identity = send("/queue/a", "Zoë", on_commit=True)
        assert events == [SendDeferred(identity, "/queue/a", 6)]
    assert [type(event) for event in events[1:]] == [SendBegan, SendSucceeded]


def test_observers_are_not_told_of_a_wait_if_nothing_waits():
    events: list[object] = []
    publisher.observers.add(events.append)
    send("/queue/a", 1, on_commit=True)
    assert [type(event) for event in events] == [SendBegan, SendSucceeded]

    del events[:]
    transaction.set_autocommit(False)
    try:
        with pytest.raises(transaction.TransactionManagementError):
            send("/queue/a", 1, on_commit=True)
    finally:
        transaction.set_autocommit(True)
    assert events == []


def test_after_a_rollback_nothing_goes():
    with undone():
        send("/queue/a", 1, on_commit=True)

    assert payloads() == []


def test_a_nested_block_waits_for_the_outermost_one():
    with transaction.atomic():
        with transaction.atomic():
            send("/queue/a", 1, on_commit=True)
        assert payloads() == []
        send("/queue/a", 2, on_commit=True)

    assert payloads() == [1, 2]


def test_a_nested_block_that_is_undone_sends_nothing_and_the_outer_one_does():
    with transaction.atomic():
        send("/queue/a", 1, on_commit=True)
        with undone():
            send("/queue/a", 2, on_commit=True)

    assert payloads() == [1]


def test_the_payload_is_what_it_was_when_it_was_sent():
    payload = {"state": "new"}
    with transaction.atomic():
        send("/queue/a", payload, on_commit=True)
        payload["state"] = "changed"

    assert payloads() == [{"state": "new"}]


def test_the_database_may_be_another_one():
    with transaction.atomic(using="archive"):
        with transaction.atomic():
            send("/queue/a", 1, on_commit=True, database="archive")
        assert payloads() == []
        send("/queue/a", 2, on_commit=True)
        assert payloads() == [2]

    assert payloads() == [2, 1]


def test_without_on_commit_a_transaction_changes_nothing():
    with undone():
        send("/queue/a", 1)

    assert payloads() == [1]


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        (("/queue/a", object()), {}, SerializationError),
        (("", 1), {}, InvalidFrame),
        (("/queue/a", 1, {"x": "a\0b"}), {}, InvalidFrame),
        (("/queue/a", 1, {"x": 1}), {}, InvalidFrame),
        (("/queue/a", 1), {"priority": 10}, InvalidFrame),
        (("/queue/a", 1), {"ttl": -1}, InvalidFrame),
        (("/queue/a", 1), {"colour": "red"}, TypeError),
        (("/queue/a", 1), {"using": "other"}, PublisherDoesNotExist),
    ],
)
def test_what_cannot_be_sent_is_refused_before_the_commit(arguments, options, error):
    with transaction.atomic(), pytest.raises(error):
        send(*arguments, on_commit=True, **options)

    assert payloads() == []


def test_an_error_of_the_broker_is_raised_where_the_block_ends_after_the_commit():
    @transaction.atomic
    def store():
        Order.objects.create(item="tea")
        send("/queue/a", 1, on_commit=True)

    nowhere = override_settings(STOMP={"default": {"OPTIONS": {"url": "stomp://127.0.0.1:1"}}})
    with nowhere, pytest.raises(BrokerUnavailable):
        store()

    assert Order.objects.get().delete()[0] == 1


def test_a_view_that_fails_stores_nothing_and_sends_nothing():
    with pytest.raises(ValueError, match="no coffee"):
        Client().post("/orders", "coffee", content_type="text/plain")

    assert payloads() == []
    assert not Order.objects.exists()


def test_a_view_that_works_stores_the_order_and_tells_of_it():
    Client().post("/orders", "tea", content_type="text/plain")

    order = Order.objects.get()
    assert payloads() == [{"id": order.pk, "item": "tea"}]
    order.delete()


NOWHERE = {"OPTIONS": {"url": "stomp://127.0.0.1:1"}}
TWO_BROKERS = override_settings(STOMP={"default": {"OPTIONS": {"url": "memory://"}}, "down": NOWHERE})


@TWO_BROKERS
def test_a_message_that_fails_does_not_take_the_others_of_its_transaction_with_it(caplog):
    @transaction.atomic
    def store():
        send("/queue/first", 1, {"x-message-id": "7"}, using="down", on_commit=True)
        send("/queue/a", 2, on_commit=True)
        send("/queue/last", 3, using="down", on_commit=True)
        send("/queue/a", 4, on_commit=True)

    with pytest.raises(BrokerUnavailable, match="/queue/first"):
        store()

    assert payloads() == [2, 4]
    first, last = logged(caplog)
    assert "message 7 to /queue/first was not sent" in first
    assert "/queue/last" in last


@TWO_BROKERS
def test_what_the_application_does_after_the_commit_is_done_before_the_error_is_raised():
    done = []

    @transaction.atomic
    def store():
        send("/queue/first", 1, using="down", on_commit=True)
        transaction.on_commit(lambda: done.append("between"))
        send("/queue/a", 2, on_commit=True)

    with pytest.raises(BrokerUnavailable):
        store()

    assert done == ["between"]


@TWO_BROKERS
def test_the_error_is_raised_though_the_last_message_was_rolled_back():
    @transaction.atomic
    def store():
        send("/queue/first", 1, using="down", on_commit=True)
        with undone():
            send("/queue/a", 2, on_commit=True)

    with pytest.raises(BrokerUnavailable):
        store()

    assert payloads() == []


@TWO_BROKERS
def test_an_error_belongs_to_its_own_transaction():
    @transaction.atomic
    def store(alias):
        send("/queue/a", alias, using=alias, on_commit=True)

    with pytest.raises(BrokerUnavailable):
        store("down")
    store("default")
    send("/queue/a", 3, on_commit=True)

    assert payloads() == ["default", 3]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "stomp_web.django"]


class TestOneBatch:
    """All messages of a transaction leave together."""

    def test_no_message_waits_for_the_receipt_of_another(self, broker_settings):
        broker_settings.faults.late_receipt("SEND")  # which comes after that of the second message

        with transaction.atomic():
            first = send("/queue/a", 1, on_commit=True)
            with transaction.atomic():
                second = send("/queue/a", 2, on_commit=True)

        ids = [message.headers["x-message-id"] for message in broker_settings.messages("/queue/a")]
        assert ids == [first, second]
        assert publishers["default"].stats().confirmed == 2

    def test_the_broker_gets_all_of_them_in_order_over_one_connection(self, broker_settings):
        with transaction.atomic():
            for number in range(50):
                send(f"/queue/{number % 2}", number, on_commit=True)

        for parity in (0, 1):
            bodies = [json.loads(message.body) for message in broker_settings.messages(f"/queue/{parity}")]
            assert bodies == list(range(parity, 50, 2))
        assert broker_settings.connections_accepted == 1

    def test_it_may_be_large(self):
        with transaction.atomic():
            for number in range(5_000):
                send("/queue/a", number, on_commit=True)

        assert payloads() == list(range(5_000))

    def test_each_alias_has_one(self, local_broker):
        with Broker() as other:
            local_broker.faults.late_receipt("SEND")
            other.faults.late_receipt("SEND")
            aliases = {"default": local_broker, "audit": other}
            settings = {alias: {"OPTIONS": {"url": broker.url}} for alias, broker in aliases.items()}
            with override_settings(STOMP=settings), transaction.atomic():
                for alias in ("default", "audit", "default", "audit"):
                    send("/queue/a", alias, using=alias, on_commit=True)

            assert [len(broker.messages("/queue/a")) for broker in aliases.values()] == [2, 2]

    def test_messages_keep_their_order_where_only_some_are_confirmed(self, broker_settings):
        with transaction.atomic():
            for number in range(4):
                send("/queue/a", number, on_commit=True, confirm=number != 1)

        assert [json.loads(message.body) for message in broker_settings.messages("/queue/a")] == [0, 1, 2, 3]
        stats = publishers["default"].stats()
        assert (stats.sent, stats.confirmed) == (4, 3)

    def test_what_was_sent_behind_a_savepoint_that_is_undone_is_not_in_it(self, broker_settings):
        with transaction.atomic():
            send("/queue/a", 1, on_commit=True)
            with undone():
                send("/queue/a", 2, on_commit=True)
                with transaction.atomic():
                    send("/queue/a", 3, on_commit=True)
            send("/queue/a", 4, on_commit=True)

        assert [json.loads(message.body) for message in broker_settings.messages("/queue/a")] == [1, 4]

    def test_it_does_not_wait_for_a_function_of_the_application_that_fails(self):
        @transaction.atomic
        def store():
            send("/queue/a", 1, on_commit=True)
            transaction.on_commit(lambda: 1 / 0)
            send("/queue/a", 2, on_commit=True)

        with pytest.raises(ZeroDivisionError):
            store()

        assert payloads() == [1, 2]

    def test_it_is_sent_where_a_function_before_it_fails_robustly(self):
        with transaction.atomic():
            transaction.on_commit(lambda: 1 / 0, robust=True)
            send("/queue/a", 1, on_commit=True)
            send("/queue/a", 2, on_commit=True)

        assert payloads() == [1, 2]

    def test_in_a_test_case_it_is_sent_when_the_first_function_is_called(self):
        with undone():
            send("/queue/a", "before", on_commit=True)
            with TestCase.captureOnCommitCallbacks() as callbacks:
                send("/queue/a", 1, on_commit=True)
                with undone():
                    send("/queue/a", 2, on_commit=True)
                send("/queue/a", 3, on_commit=True)
            for callback in callbacks:
                callback()
                assert payloads() == [1, 3]

        assert len(callbacks) == 2


class TestARefusedMessage:
    """It does not take the others of its transaction with it."""

    @staticmethod
    @transaction.atomic
    def store(**headers: str) -> None:
        send("/queue/a", 1, on_commit=True)
        send("/queue/bad", 2, headers, on_commit=True)
        send("/queue/a", 3, on_commit=True)

    @staticmethod
    def bodies(broker: Broker) -> list[object]:
        return [json.loads(message.body) for message in broker.messages("/queue/a")]

    @pytest.mark.parametrize("named", [True, False])
    def test_that_the_broker_refuses_is_rejected_and_the_others_are_sent_once(self, named, caplog):
        with Broker(keep_open_after_error=True) as broker:
            broker.faults.error("SEND", "No right", after=1, close=False, receipt_id=named)
            settings = override_settings(STOMP={"default": {"OPTIONS": {"url": broker.url}}})
            with settings, pytest.raises(Rejected, match=r"/queue/bad: .*No right") as failure:
                self.store(**{"x-message-id": "7"})

            assert self.bodies(broker) == [1, 3]
            assert broker.received("SEND") == 3
        assert (failure.value.destination, failure.value.message_id) == ("/queue/bad", "7")
        assert failure.value.frame.headers["message"] == "No right"
        assert ["message 7 to /queue/bad was not sent" in line for line in logged(caplog)] == [True]

    def test_that_a_broker_refuses_before_it_ends_the_connection_does_not_keep_those_behind_it(self, local_broker):
        local_broker.faults.error("SEND", "No right", after=1)
        settings = override_settings(STOMP={"default": {"OPTIONS": {"url": local_broker.url}}})
        with settings, pytest.raises(Rejected, match=r"/queue/bad: .*No right"):
            self.store()

        assert self.bodies(local_broker) == [1, 3]

    def test_that_the_session_cannot_carry_is_refused_and_the_others_are_sent(self, caplog):
        with Broker(versions=("1.0",)) as broker:
            settings = override_settings(STOMP={"default": {"OPTIONS": {"url": broker.url}}})
            with settings, pytest.raises(InvalidFrame, match=r"STOMP 1\.0"):
                self.store(**{"x-note": "two\nlines"})

            assert self.bodies(broker) == [1, 3]
            assert broker.received("SEND") == 2
        assert ["to /queue/bad was not sent" in line for line in logged(caplog)] == [True]

    def test_of_which_only_a_part_has_left_holds_up_those_behind_it_and_they_are_sent(self, monkeypatch):
        self.answer(monkeypatch, NotSent("too large", confirmed=(0,)), alone={"/queue/bad": NotSent("too large")})

        with pytest.raises(NotSent, match="too large"):
            self.store()

        assert self.tried == [["/queue/a", "/queue/bad", "/queue/a"], ["/queue/bad"], ["/queue/a"]]

    def test_messages_that_were_certainly_not_sent_are_sent(self, monkeypatch, caplog):
        unknown = ConnectionLost("it hung up")
        unknown.not_sent = (2,)
        self.answer(monkeypatch, unknown)

        with pytest.raises(ConnectionLost, match="/queue/a: it hung up") as failure:
            self.store()

        assert self.tried == [["/queue/a", "/queue/bad", "/queue/a"], ["/queue/a"]]
        assert (failure.value.not_sent, len(failure.value.message_ids)) == ((), 1)
        assert len(logged(caplog)) == 2  # the first two may have arrived

    def test_messages_that_may_have_arrived_are_not_sent_again(self, local_broker):
        local_broker.faults.close_before_receipt("SEND", after=1)
        settings = override_settings(STOMP={"default": {"OPTIONS": {"url": local_broker.url}}})
        with settings, pytest.raises(ConnectionLost, match="/queue/bad"):
            self.store()

        assert local_broker.received("SEND") == 2

    def answer(self, monkeypatch, to_the_batch, alone=None):
        """Let the publisher answer a batch, and single messages by their destination, with errors."""
        self.tried = []

        def deliver(messages, **_):
            self.tried.append([message.destination for message in messages])
            error = to_the_batch if len(messages) > 1 else (alone or {}).get(messages[0].destination)
            if error is not None:
                raise error

        monkeypatch.setattr(publishers["default"], "deliver", deliver)


def test_a_broker_that_does_not_answer_holds_up_the_end_of_the_block_once(local_broker):
    local_broker.faults.mute("SEND", times=None)

    @transaction.atomic
    def store():
        for number in range(6):
            send("/queue/a", number, on_commit=True, timeout=1)

    with override_settings(STOMP={"default": {"OPTIONS": {"url": local_broker.url}}}):
        publishers["default"].check(60)  # no time of the sends goes into connecting
        with pytest.raises(ReceiptTimeout):
            store()
    assert local_broker.wait_until(lambda: local_broker.received("SEND") == 6)
    assert local_broker.connections_accepted == 1


@TWO_BROKERS
def test_in_a_test_case_too_each_is_tried_and_the_first_error_is_raised():
    """Which never commits: what was sent before, or is captured, stays in Django's list."""
    with undone():
        send("/queue/a", 1, on_commit=True)

        def place():
            with TestCase.captureOnCommitCallbacks(execute=True):
                send("/queue/first", 2, using="down", on_commit=True)
                send("/queue/a", 3, on_commit=True)

        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                place()

    assert payloads() == [3, 3]
