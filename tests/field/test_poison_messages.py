"""A message that breaks STOMP's rules, or a limit, does not stop the receivers of its queue.

Every program that may write to a queue can make one: RabbitMQ writes the headers of an AMQP producer as they are.
"""

from __future__ import annotations

import json
import typing

import pytest

from stomp_web import ConnectionLost, PublishSubscribeClient, QueueingDuplexClient
from stomp_web.worker import Handlers, ReceivedMessage, Worker
from tests.field.raw_queue import RawQueue
from tests.worker import tasks
from tests.worker.running import Notes, Running

JSON = b"content-type:application/json"
READABLE = {
    "Latin-1": b"city:K\xf6ln",
    "NUL": b"n\0l:a\0b",
    "no name": b":x",
    "no colon": b"nothing",
    "undefined escape": b"a:b\\tc",
    "Latin-1 in the message's id": b"x-message-id:\xff",
}
TOO_LARGE = {
    "a long head": b"trace:" + b"x" * 200_000,
    "many headers": b"\n".join(b"h%d:x" % number for number in range(3_000)),
}
Start = typing.Callable[[Worker], Running]


@pytest.fixture
def queue_of() -> typing.Iterator[typing.Callable[..., RawQueue]]:
    made: list[RawQueue] = []

    def make(messages: typing.Mapping[str, tuple[bytes, bytes]]) -> RawQueue:
        made.append(RawQueue(messages))
        return made[-1]

    yield make
    for each in made:
        each.close()


def between_good_ones(queue_of: typing.Callable[..., RawQueue], lines: bytes, body: bytes | None = None) -> RawQueue:
    """A queue of 7 messages, all of them good but for the 4th; each names the queue's address, and its number."""
    queue = queue_of({})
    for number in range(7):
        payload = json.dumps({"url": queue.url, "number": number}).encode()
        own = JSON + b"\nx-message-id:m%d" % number
        poisoned = number == 3
        queue._messages[str(number)] = (
            (JSON + b"\n" + lines, payload if body is None else body) if poisoned else (own, payload)
        )
        queue.left.append(str(number))
    return queue


@pytest.mark.parametrize("how", [{"concurrency": 1}, {"processes": 1}], ids=["threads", "processes"])
@pytest.mark.parametrize("lines", READABLE.values(), ids=READABLE)
def test_a_message_with_a_header_that_breaks_the_rules_is_handled_as_far_as_it_can_be_read(
    queue_of: typing.Any, start: Start, lines: bytes, how: dict[str, int]
) -> None:
    queue = between_good_ones(queue_of, lines)
    worker = Worker(queue.url, **how)
    worker.subscribe("/queue/a", accept=("json",))(tasks.tell)
    start(worker)

    told = queue.wait_for("/queue/told", 7)
    queue.wait_until_empty()

    assert sorted(json.loads(frame.body)["number"] for frame in told) == list(range(7))
    assert queue.sessions == 1


def test_the_handler_can_see_what_was_wrong(queue_of: typing.Any, start: Start, caplog: typing.Any) -> None:
    queue = queue_of({"1": (JSON + b"\ncity:K\xf6ln", b"1"), "2": (JSON, b"2")})
    notes = Notes()
    worker = Worker(queue.url, concurrency=1)
    worker.subscribe("/queue/a")(notes)
    start(worker)

    bad, good = notes.wait(2)

    assert bad.headers["city"] == "K\ufffdln"
    assert "UTF-8" in bad.defects[0]
    assert good.defects == ()
    assert "UTF-8" in caplog.text


def test_two_ids_that_could_not_be_read_are_not_taken_for_one(queue_of: typing.Any, start: Start) -> None:
    queue = queue_of(
        {str(number): (JSON + b"\nx-message-id:" + bytes((number,)), b"%d" % number) for number in range(240, 245)}
    )
    notes = Notes()
    worker = Worker(queue.url, concurrency=1, deduplicate=100)
    worker.subscribe("/queue/a")(notes)
    start(worker)

    notes.wait(5)
    queue.wait_until_empty()

    assert notes.payloads == list(range(240, 245))


@pytest.mark.parametrize("how", [{"concurrency": 1}, {"processes": 1}], ids=["threads", "processes"])
@pytest.mark.parametrize("ack", ["client-individual", "client", "auto"])
@pytest.mark.parametrize("lines", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_message_with_too_many_headers_becomes_a_dead_letter(
    queue_of: typing.Any, start: Start, lines: bytes, ack: str, how: dict[str, int]
) -> None:
    queue = between_good_ones(queue_of, b"small:1\n" + lines + b"\nx-message-id:bad")
    worker = Worker(queue.url, dead_letter="/queue/dead", **how)
    worker.subscribe("/queue/a", accept=("json",), ack=ack)(tasks.tell)
    running = start(worker)

    told = queue.wait_for("/queue/told", 6)
    (letter,) = queue.wait_for("/queue/dead", 1)
    queue.wait_until_empty()

    assert sorted(json.loads(frame.body)["number"] for frame in told) == [0, 1, 2, 4, 5, 6]
    assert json.loads(letter.body)["number"] == 3
    assert letter.headers["x-message-id"] == "bad"
    assert letter.headers["small"] == "1"
    assert letter.headers["content-type"] == "application/json"
    assert letter.headers["original-destination"] == "/queue/a"
    assert "limit" in letter.headers["x-error"] or "more than" in letter.headers["x-error"]
    assert sum(len(name) + len(value) for name, value in letter.headers.items()) < 60_000
    assert queue.sessions == 1
    assert running.worker.stats().dead_lettered == 1


def test_a_body_over_the_limit_becomes_a_dead_letter_with_its_beginning(queue_of: typing.Any, start: Start) -> None:
    queue = between_good_ones(queue_of, b"x-message-id:bad", b"[" + b"1," * 5_000 + b"1]")
    worker = Worker(queue.url + "?max_body_bytes=1000", dead_letter="/queue/dead")
    worker.subscribe("/queue/a", accept=("json",))(tasks.tell)
    start(worker)

    queue.wait_for("/queue/told", 6)
    (letter,) = queue.wait_for("/queue/dead", 1)
    queue.wait_until_empty()

    assert letter.body == (b"[" + b"1," * 5_000)[:1000]
    assert "10003 bytes" in letter.headers["x-error"]
    assert "max_body_bytes" in letter.headers["x-error"]


def test_the_limits_of_a_worker_are_options(queue_of: typing.Any, start: Start) -> None:
    queue = queue_of({"1": (JSON + b"\n" + TOO_LARGE["a long head"], b"1"), "2": (JSON, b"2" * 100)})
    notes = Notes()
    worker = Worker(queue.url, concurrency=1, max_header_bytes=300_000, max_headers=50, max_body_bytes=10)
    worker.subscribe("/queue/a", accept=("json",))(notes)
    start(worker)

    (message,) = notes.wait(1)
    queue.wait_for("/queue/DLQ", 1)

    assert len(message.headers["trace"]) == 200_000
    assert message.defects == ()


def test_a_client_with_queues_hands_it_out_and_can_acknowledge_it(queue_of: typing.Any) -> None:
    queue = between_good_ones(queue_of, TOO_LARGE["a long head"])
    with QueueingDuplexClient.from_url(queue.url) as client:
        client.subscribe("/queue/a", ack="client-individual")
        frames = []
        for _ in range(7):
            frame = client.receive(timeout=60)
            assert frame is not None
            client.ack(frame)
            frames.append(frame)
    queue.wait_until_empty()

    assert [frame.truncated for frame in frames] == [False] * 3 + [True] + [False] * 3
    assert "max_header_bytes" in frames[3].defects[0]
    assert "trace" not in frames[3].headers


def test_a_callback_gets_it(queue_of: typing.Any) -> None:
    queue = between_good_ones(queue_of, READABLE["NUL"])
    got: list[bool] = []
    with PublishSubscribeClient.from_url(queue.url) as client:
        client.subscribe("/queue/a", lambda frame: got.append(bool(frame.defects)))
        while len(got) < 7:
            client.receive(timeout=0.01)

    assert got == [False] * 3 + [True] + [False] * 3


def test_a_frame_whose_end_cannot_be_found_ends_the_session_after_the_good_ones(queue_of: typing.Any) -> None:
    queue = queue_of({"1": (JSON, b"1"), "2": (JSON, b"2"), "3": (JSON + b"\n\nGARBAGE\0GARBAGE", b"3")})
    with QueueingDuplexClient.from_url(queue.url) as client:
        client.subscribe("/queue/a")
        bodies = []
        with pytest.raises(ConnectionLost, match="not STOMP"):  # noqa: PT012
            while (frame := client.receive(timeout=60)) is not None:
                bodies.append(frame.body)
    assert bodies == [b"1", b"2", b"GARBAGE"]


def test_a_worker_takes_what_others_have_decorated(queue_of: typing.Any, start: Start) -> None:
    """A message handed to a handler that reads nothing is the body, with its defects."""
    queue = queue_of({"1": (b"city:K\xf6ln", b"raw")})
    handlers = Handlers()
    got: list[ReceivedMessage] = []
    handlers.subscribe("/queue/a", accept=())(got.append)
    start(Worker(queue.url, handlers=handlers))
    queue.wait_until_empty()

    assert [(message.body, len(message.defects)) for message in got] == [(b"raw", 1)]
