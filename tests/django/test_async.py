"""`asend` in async views, which Django's ASGI handler runs; and what `send` says there."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from stomp_web import Rejected
from stomp_web.django import asend, message_sent, publisher, publishers, send
from stomp_web.django.publishers import PublisherDoesNotExist

if TYPE_CHECKING:
    from stomp_web.broker import Broker

PATIENCE = 150.0


async def place(request):
    return HttpResponse(await asend("/queue/orders", {"item": request.body.decode()}), status=202)


async def place_after_commit(request):
    return HttpResponse(await asend("/queue/orders", request.body.decode(), on_commit=True), status=202)


async def place_by_publisher(request):
    await publishers["audit"].asend("/queue/audit", 1)
    return HttpResponse(await publisher.asend("/queue/orders", 1), status=202)


async def place_wrongly(request):
    return HttpResponse(send("/queue/orders", 1, on_commit=True), status=202)


async def answer(request):
    return HttpResponse("here")


urlpatterns = [
    path("place", place),
    path("after-commit", place_after_commit),
    path("by-publisher", place_by_publisher),
    path("wrongly", place_wrongly),
    path("answer", answer),
]
with_views = override_settings(ROOT_URLCONF=__name__)


async def post(where: str) -> str:
    answered = await AsyncClient().post(f"/{where}", data=b"tea", content_type="text/plain")
    assert answered.status_code == 202
    return answered.content.decode()


@with_views
@pytest.mark.parametrize("where", ["place", "after-commit", "by-publisher"])
def test_an_async_view_sends_and_gets_the_id(broker_settings: Broker, where: str):
    with override_settings(STOMP={alias: {"OPTIONS": {"url": broker_settings.url}} for alias in ("default", "audit")}):
        identity = asyncio.run(post(where))

    (message,) = broker_settings.messages("/queue/orders")
    assert message.headers["x-message-id"] == identity


@with_views
def test_other_views_are_served_meanwhile(broker_settings: Broker):
    async def main() -> None:
        broker_settings.faults.freeze("SEND")
        placing = asyncio.create_task(post("place"))
        assert await asyncio.to_thread(broker_settings.wait_until, lambda: broker_settings.received("SEND"), PATIENCE)
        assert (await AsyncClient().get("/answer")).content == b"here"
        assert not placing.done()
        await asyncio.to_thread(broker_settings.faults.thaw)
        await placing

    asyncio.run(main())


@with_views
def test_the_signal_comes_in_another_thread_than_the_loops(broker_settings: Broker):
    threads = []

    def note(**_):
        threads.append(threading.current_thread())

    message_sent.connect(note)
    try:
        asyncio.run(post("after-commit"))
    finally:
        message_sent.disconnect(note)
    assert threads
    assert threading.main_thread() not in threads


@with_views
def test_send_after_the_commit_says_there_what_to_do_and_sends_nothing():
    with pytest.raises(SynchronousOnlyOperation, match=r"await asend\(\.\.\., on_commit=True\)"):
        asyncio.run(AsyncClient().get("/wrongly"))
    assert publisher.outbox == []


def test_send_warns_there_that_it_blocks(broker_settings: Broker):
    async def view() -> None:
        send("/queue/orders", 1)

    with pytest.warns(RuntimeWarning, match=r"await asend\(\)") as warned:
        asyncio.run(view())
    assert [each.filename for each in warned] == [__file__]


def test_errors_are_raised_where_it_is_awaited(local_broker: Broker):
    with pytest.raises(PublisherDoesNotExist):
        asyncio.run(asend("/queue/a", 1, using="other"))
    with override_settings(STOMP={"default": {"OPTIONS": {"url": local_broker.url}}}), pytest.raises(Rejected):
        asyncio.run(asend("/bogus/x", 1))


class TestTransactions:
    """The database's thread is the one that called `async_to_sync`, as in a sync view, a command or a test."""

    @pytest.mark.parametrize("ends", ["commit", "rollback"])
    def test_the_message_goes_after_the_commit_of_the_databases_thread(self, ends: str):
        block = transaction.atomic()

        @async_to_sync
        async def view() -> str:
            await sync_to_async(block.__enter__)()
            identity = await asend("/queue/a", 1, on_commit=True)
            assert publisher.outbox == []
            error = None if ends == "commit" else ValueError("undone")
            await sync_to_async(block.__exit__)(error and ValueError, error, None)
            return identity

        identity = view()
        assert [message.id for message in publisher.outbox] == ([identity] if ends == "commit" else [])

    def test_a_sync_transaction_waits_for_what_async_code_sends_in_it(self):
        with transaction.atomic():
            identity = async_to_sync(asend)("/queue/a", 1, on_commit=True)
            assert publisher.outbox == []
        assert [message.id for message in publisher.outbox] == [identity]

    def test_of_another_database(self):
        with transaction.atomic(using="archive"):
            async_to_sync(asend)("/queue/a", 1, on_commit=True)
            assert len(publisher.outbox) == 1
            async_to_sync(asend)("/queue/a", 2, on_commit=True, database="archive")
            assert len(publisher.outbox) == 1
        assert len(publisher.outbox) == 2

    def test_without_autocommit_it_is_refused_as_by_django(self):
        transaction.set_autocommit(False)
        try:
            with pytest.raises(transaction.TransactionManagementError):
                async_to_sync(asend)("/queue/a", 1, on_commit=True)
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)
        assert publisher.outbox == []

    def test_the_payload_is_what_it_was_at_the_call(self):
        payload = {"id": 7}
        with transaction.atomic():
            async_to_sync(asend)("/queue/a", payload, on_commit=True)
            payload["id"] = 8
        assert [message.payload for message in publisher.outbox] == [{"id": 7}]
