"""stompman, the asynchronous client, uses the development broker without noticing, as it uses ActiveMQ.

RabbitMQ is not among them: stompman 3.16 always sends the TCP host as the `host` header, which RabbitMQ takes for a
virtual host that it does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import stompman
from stompman.connection import Connection

from tests.brokers.beats import one_survives
from tests.brokers.foreign_async import stompman_client
from tests.brokers.running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from tests.brokers.running import RunningBroker

pytestmark = pytest.mark.parametrize("broker", ["development", "activemq"], indirect=True)

EVERY_BYTE = bytes(range(256)) + b"\0"


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, with a deadline for all of it."""
    asyncio.run(asyncio.wait_for(work, PATIENCE))


@dataclass
class Inbox:
    """Messages as they come, acknowledged or not."""

    acknowledge: bool = True
    messages: asyncio.Queue[stompman.AckableMessageFrame] = field(default_factory=asyncio.Queue)

    async def take(self, message: stompman.AckableMessageFrame) -> None:
        if self.acknowledge:
            await message.ack()
        await self.messages.put(message)

    async def get(self) -> stompman.AckableMessageFrame:
        return await asyncio.wait_for(self.messages.get(), PATIENCE)


async def subscribe(client: stompman.Client, destination: str, inbox: Inbox) -> stompman.ManualAckSubscription:
    return await client.subscribe_with_manual_ack(destination, inbox.take, receipt_timeout=PATIENCE)


def test_it_sends_confirmed_and_reads_back_what_it_sent(broker: RunningBroker, destination: str) -> None:
    async def work() -> None:
        inbox = Inbox()
        async with stompman_client(broker) as client:
            subscription = await subscribe(client, destination, inbox)
            await client.send(EVERY_BYTE, destination, headers={"special": "a:b\\c\nd"}, receipt_timeout=PATIENCE)
            message = await inbox.get()
            await subscription.unsubscribe()
        assert message.body == EVERY_BYTE
        assert dict(message.headers)["special"] == "a:b\\c\nd"

    run(work())


def test_what_it_did_not_acknowledge_is_delivered_again(broker: RunningBroker, destination: str) -> None:
    async def work() -> None:
        careless, careful = Inbox(acknowledge=False), Inbox()
        async with stompman_client(broker) as client:
            await client.send(b"message", destination, receipt_timeout=PATIENCE)
            subscription = await subscribe(client, destination, careless)
            assert (await careless.get()).body == b"message"
            await subscription.unsubscribe()
        async with stompman_client(broker) as client:
            subscription = await subscribe(client, destination, careful)
            message = await careful.get()
            await subscription.unsubscribe()
        assert message.body == b"message"
        assert dict(message.headers)["redelivered"] == "true"

    run(work())


def test_what_it_acknowledged_is_gone(broker: RunningBroker, destination: str) -> None:
    async def work() -> None:
        for body in (b"first", b"second"):
            inbox = Inbox()
            async with stompman_client(broker) as client:
                subscription = await subscribe(client, destination, inbox)
                await client.send(body, destination, receipt_timeout=PATIENCE)
                assert (await inbox.get()).body == body
                await subscription.unsubscribe()

    run(work())


def test_its_nack_is_accepted(broker: RunningBroker, destination: str) -> None:
    async def work() -> None:
        inbox = Inbox(acknowledge=False)
        async with stompman_client(broker) as client:
            await client.send(b"unwanted", destination, receipt_timeout=PATIENCE)
            subscription = await subscribe(client, destination, inbox)
            await (await inbox.get()).nack()
            await client.send(b"confirmed after the nack", f"{destination}-other", receipt_timeout=PATIENCE)
            await subscription.unsubscribe()

    run(work())


def test_its_transactions_commit_and_abort(broker: RunningBroker, destination: str) -> None:
    async def work() -> None:
        inbox = Inbox()
        async with stompman_client(broker) as client:
            subscription = await subscribe(client, destination, inbox)
            with contextlib.suppress(LookupError):
                async with client.begin() as transaction:
                    await transaction.send(b"aborted", destination)
                    raise LookupError
            async with client.begin() as transaction:
                await transaction.send(b"committed", destination)
            assert (await inbox.get()).body == b"committed"
            await subscription.unsubscribe()

    run(work())


def test_its_heart_beats_keep_the_connection_alive(broker: RunningBroker, destination: str) -> None:
    async def work(heartbeat: stompman.Heartbeat) -> None:
        heard = asyncio.Event()

        class Listening(Connection):
            async def read_frames(self) -> AsyncGenerator[stompman.AnyServerFrame, None]:
                async for frame in Connection.read_frames(self):
                    if isinstance(frame, stompman.HeartbeatFrame):
                        heard.set()
                    yield frame

        async with stompman_client(broker, connection_class=Listening, heartbeat=heartbeat) as client:
            heard.clear()  # of the line feed behind CONNECTED
            await asyncio.wait_for(heard.wait(), PATIENCE)
            assert client.is_alive()
            await client.send(b"works", destination, receipt_timeout=PATIENCE)

    one_survives(lambda beat, _: run(work(stompman.Heartbeat(beat, beat))))


def test_a_wrong_passcode_ends_its_connect(broker: RunningBroker) -> None:
    async def work() -> None:
        with pytest.raises(stompman.FailedAllConnectAttemptsError):
            async with stompman_client(broker, passcode="wrong"):
                pass

    run(work())
