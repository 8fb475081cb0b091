from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.test import Client, TestCase, override_settings

from stomp_web import BrokerUnavailable, InvalidFrame, ReceiptTimeout, SerializationError
from stomp_web.django import PublisherDoesNotExist, publisher, send
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
    assert [record.levelname for record in caplog.records if record.name == "stomp_web.django"] == ["ERROR"] * 2
    assert "message 7 to /queue/first was not sent" in caplog.text
    assert "/queue/last" in caplog.text


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


def test_a_broker_that_does_not_answer_holds_up_the_end_of_the_block_once(local_broker):
    local_broker.faults.mute("SEND", times=None)

    @transaction.atomic
    def store():
        for number in range(6):
            send("/queue/a", number, on_commit=True, timeout=4)

    began = time.monotonic()
    with override_settings(STOMP={"default": {"OPTIONS": {"url": local_broker.url}}}), pytest.raises(ReceiptTimeout):
        store()
    assert time.monotonic() - began < 20  # and not 24
    assert local_broker.received("SEND") == 6


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
