"""What an AMQP producer may write into a queue of RabbitMQ, and STOMP cannot carry, does not stop a worker.

RabbitMQ 3.10.8 and 4.3.6 confirm each of these messages, and write it into a MESSAGE frame as it is.
"""

from __future__ import annotations

import json
import typing
import uuid

import pytest

from stomp_web import QueueingDuplexClient
from stomp_web.worker import Worker
from tests.brokers.amqp import AmqpProducer
from tests.brokers.rabbitmq import RabbitMQ
from tests.worker import tasks
from tests.worker.conftest import start  # noqa: F401
from tests.worker.running import Running

READABLE: dict[bytes, bytes] = {b"city": b"K\xf6ln", b"n\0l": b"a\0b", b"": b"x", b"n\xff": b"a\nb:c\\d\re"}
TOO_LARGE: list[dict[bytes, bytes]] = [
    {b"trace": b":" * 120_000},  # two bytes each in STOMP
    {b"h%d" % number: b"x" for number in range(3_000)},
]


def name() -> str:
    return f"poison-{uuid.uuid4().hex}"


@pytest.mark.parametrize("how", [{"concurrency": 2}, {"processes": 1}], ids=["threads", "processes"])
def test_good_messages_are_handled_and_bad_ones_are_read_or_become_dead_letters(
    rabbitmq: RabbitMQ,
    start: typing.Callable[[Worker], Running],  # noqa: F811
    how: dict[str, int],
) -> None:
    queue, told, dead = name(), name(), name()
    with AmqpProducer(rabbitmq.host, rabbitmq.amqp_port) as producer:
        for each in (queue, told, dead):
            producer.declare(each.encode())
        kinds = [{}, READABLE, {}, *({key: value} for key, value in READABLE.items()), *TOO_LARGE, {}]
        for number, headers in enumerate(kinds):
            payload = {"url": rabbitmq.url, "told": f"/queue/{told}", "number": number}
            producer.publish(
                queue.encode(), json.dumps(payload).encode(), {b"x-message-id": b"m%d" % number, **headers}
            )
    worker = Worker(rabbitmq.url, dead_letter=f"/queue/{dead}", **how)
    worker.subscribe(f"/queue/{queue}", accept=("json",))(tasks.tell)
    running = start(worker)

    bad = [number for number, headers in enumerate(kinds) if headers in TOO_LARGE]
    with QueueingDuplexClient.from_url(rabbitmq.url) as client:
        client.subscribe(f"/queue/{told}")
        answers = [client.receive() for _ in range(len(kinds) - len(bad))]
        client.subscribe(f"/queue/{dead}", id="dead")
        letters = [client.receive() for _ in bad]
    assert running.stop() == 0
    assert worker.stats().connects == 1
    assert sorted(json.loads(frame.body)["number"] for frame in answers if frame is not None) == [
        number for number in range(len(kinds)) if number not in bad
    ]
    assert {
        json.loads(frame.body)["number"]: frame.headers["x-message-id"] for frame in letters if frame is not None
    } == {number: f"m{number}" for number in bad}
    with QueueingDuplexClient.from_url(rabbitmq.url) as client:
        client.subscribe(f"/queue/{queue}")
        client.send(f"/queue/{queue}", b"the last", confirm=True)
        last = client.receive()
        assert last is not None
        assert last.body == b"the last"


def test_a_client_can_acknowledge_what_it_could_not_read_whole(rabbitmq: RabbitMQ) -> None:
    queue = name()
    with AmqpProducer(rabbitmq.host, rabbitmq.amqp_port) as producer:
        producer.declare(queue.encode())
        for headers in (READABLE, *TOO_LARGE):
            producer.publish(queue.encode(), b"x", headers)
    with QueueingDuplexClient.from_url(rabbitmq.url) as client:
        client.subscribe(f"/queue/{queue}", ack="client-individual")
        frames = [client.receive() for _ in range(3)]
        for frame in frames:
            assert frame is not None
            assert frame.defects
            client.ack(frame)
    assert [frame.truncated for frame in frames if frame is not None] == [False, True, True]
    with QueueingDuplexClient.from_url(rabbitmq.url) as client:
        client.subscribe(f"/queue/{queue}")
        client.send(f"/queue/{queue}", b"the last", confirm=True)
        last = client.receive()
        assert last is not None
        assert last.body == b"the last"


@pytest.mark.parametrize(
    "headers",
    [
        {b"h%d" % number: b"x" for number in range(200)},
        {b"\xff" * 200: b"x", b"ok": b"1"},  # three times as long in UTF-8
    ],
    ids=["many headers", "a long name"],
)
def test_a_message_whose_dead_letter_cannot_be_sent_with_its_headers_does_not_stay_for_ever(
    rabbitmq: RabbitMQ,
    start: typing.Callable[[Worker], Running],  # noqa: F811
    headers: dict[bytes, bytes],
) -> None:
    queue, dead = name(), name()
    with AmqpProducer(rabbitmq.host, rabbitmq.amqp_port) as producer:
        for each in (queue, dead):
            producer.declare(each.encode())
        producer.publish(queue.encode(), b"{}", {b"x-message-id": b"m", **headers})
    worker = Worker(rabbitmq.url, dead_letter=f"/queue/{dead}", max_redeliveries=0, retry_delay=0.01)
    worker.subscribe(f"/queue/{queue}", accept=("json",))(tasks.fail)
    start(worker)

    with QueueingDuplexClient.from_url(rabbitmq.url) as client:
        client.subscribe(f"/queue/{dead}")
        letter = client.receive()
    assert letter is not None
    assert letter.headers["x-message-id"] == "m"
