"""`Publisher.asend`: the event loop goes on while a message is sent, and a cancelled task leaves no riddle."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
import typing
import warnings

import pytest

from stomp_web import BrokerUnavailable, InvalidFrame, PoolTimeout, Publisher, Rejected, SerializationError
from stomp_web.broker import Broker
from stomp_web.observers import SendSucceeded

PATIENCE = 150.0


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with Broker(denied=["/queue/denied"]) as broker:
        yield broker


@pytest.fixture
def publisher(broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(broker.url, timeout=PATIENCE) as publisher:
        yield publisher


async def until(broker: Broker, condition: typing.Callable[[], object]) -> None:
    assert await asyncio.to_thread(broker.wait_until, condition, PATIENCE)


def test_the_message_is_sent_and_its_id_returned(broker: Broker, publisher: Publisher) -> None:
    identity = asyncio.run(publisher.asend("/queue/a", {"id": 7}, {"x": "y"}, priority=9, correlation_id="c"))
    [message] = broker.messages("/queue/a")
    assert message.headers["x-message-id"] == identity
    assert (message.body, message.headers["x"], message.headers["priority"]) == (b'{"id":7}', "y", "9")


def test_the_loop_goes_on_while_the_broker_does_not_answer(broker: Broker, publisher: Publisher) -> None:
    async def main() -> None:
        broker.faults.freeze("SEND")
        sending = asyncio.create_task(publisher.asend("/queue/a", 1))
        await until(broker, lambda: broker.received("SEND"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not sending.done()
        await asyncio.to_thread(broker.faults.thaw)
        assert await sending

    asyncio.run(main())


def test_what_send_raises_is_raised_where_it_is_awaited(publisher: Publisher) -> None:
    with pytest.raises(Rejected):
        asyncio.run(publisher.asend("/queue/denied", 1))
    with pytest.raises(SerializationError):
        asyncio.run(publisher.asend("/queue/a", object()))
    with pytest.raises(InvalidFrame):
        asyncio.run(publisher.asend("", 1))
    with Publisher("stomp://127.0.0.1:1") as nowhere, pytest.raises(BrokerUnavailable):
        asyncio.run(nowhere.asend("/queue/a", 1))


def test_the_payload_is_what_it_was_at_the_call(broker: Broker, publisher: Publisher) -> None:
    async def main() -> None:
        payload = {"id": 7}
        sending = asyncio.create_task(publisher.asend("/queue/a", payload))
        await asyncio.sleep(0)
        payload["id"] = 8
        await sending

    asyncio.run(main())
    assert broker.messages("/queue/a")[0].body == b'{"id":7}'


def test_observers_see_the_context_of_the_caller(broker: Broker) -> None:
    request = contextvars.ContextVar("request", default="none")
    seen = []

    def observe(event: object) -> None:
        if isinstance(event, SendSucceeded):
            seen.append((request.get(), threading.current_thread() is threading.main_thread()))

    async def main() -> None:
        request.set("mine")
        await publisher.asend("/queue/a", 1)

    with Publisher(broker.url, observers=[observe]) as publisher:
        asyncio.run(main())
    assert seen == [("mine", False)]


class TestCancellation:
    def test_a_message_that_waits_for_a_thread_is_not_sent(self, broker: Broker, publisher: Publisher) -> None:
        busy = threading.Event()

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
            other = loop.run_in_executor(None, busy.wait, PATIENCE)
            sending = asyncio.create_task(publisher.asend("/queue/a", 1))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            busy.set()
            await other

        asyncio.run(main())  # its end waits for the executor
        assert broker.received("SEND") == 0

    def test_a_message_on_its_way_arrives(self, broker: Broker, publisher: Publisher) -> None:
        async def main() -> None:
            broker.faults.freeze("SEND")
            sending = asyncio.create_task(publisher.asend("/queue/a", 1))
            await until(broker, lambda: broker.received("SEND"))
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await asyncio.to_thread(broker.faults.thaw)

        asyncio.run(main())
        assert len(broker.messages("/queue/a")) == 1
        assert publisher.stats().confirmed == 1

    def test_its_failure_is_logged(
        self, broker: Broker, publisher: Publisher, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> None:
            broker.faults.freeze("SEND")
            sending = asyncio.create_task(publisher.asend("/queue/a", 1))
            await until(broker, lambda: broker.received("SEND"))
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await asyncio.to_thread(broker.faults.close_connections)

        with caplog.at_level(logging.WARNING, "stomp_web.publisher"):
            asyncio.run(main())
        assert publisher.stats().unknown == 1
        assert "after the task that sent it had been cancelled" in caplog.text


def test_the_wait_for_a_thread_is_part_of_the_deadline(broker: Broker, publisher: Publisher) -> None:
    busy = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        other = loop.run_in_executor(None, busy.wait, PATIENCE)
        sending = asyncio.create_task(publisher.asend("/queue/a", 1, {"x-message-id": "order-7"}, timeout=0.05))
        await asyncio.sleep(0)  # its time has begun
        await asyncio.sleep(0.1)  # longer than its time, whatever the machine does meanwhile
        busy.set()
        await other
        with pytest.raises(PoolTimeout, match=r"^/queue/a: .*; nothing was sent") as refusal:
            await sending
        assert (refusal.value.destination, refusal.value.message_id) == ("/queue/a", "order-7")

    asyncio.run(main())
    assert broker.received("SEND") == 0


class TestBlockingCalls:
    @pytest.mark.parametrize("call", ["send", "send_many", "batch"])
    def test_a_call_that_blocks_the_loop_warns_the_caller(self, publisher: Publisher, call: str) -> None:
        async def main() -> None:
            if call == "send":
                publisher.send("/queue/a", 1)
            elif call == "send_many":
                publisher.send_many([("/queue/a", 1)])
            else:
                with publisher.batch() as batch:
                    batch.send("/queue/a", 1)

        with pytest.warns(RuntimeWarning, match="blocks the event loop") as warned:
            asyncio.run(main())
        assert [each.filename for each in warned] == [__file__]

    def test_elsewhere_it_does_not(self, publisher: Publisher) -> None:
        async def in_thread() -> None:
            await asyncio.to_thread(publisher.send, "/queue/a", 1)
            await publisher.asend("/queue/a", 1)
            Publisher("memory://").send("/queue/a", 1)  # does not wait

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            publisher.send("/queue/a", 1)
            asyncio.run(in_thread())
