"""The workers that `stomp-web worker` runs in the tests, in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from stomp_web import Publisher
from stomp_web.worker import ReceivedMessage, Worker
from tests.client.scripted import eventually

URL = os.environ["STOMP_URL"]

worker = Worker(URL, concurrency=4)
hasty = Worker(URL, handlers=worker.handlers, grace=0.2)
idle = Worker(URL)
publisher = Publisher(URL)


@worker.subscribe("/queue/orders")
def answer(message: ReceivedMessage) -> None:
    """Tell who has handled the message, and how many could be handled at the same time."""
    told = {"order": message.payload, "pid": os.getpid(), "concurrency": worker.concurrency}
    publisher.send("/queue/done", told)


@worker.subscribe("/queue/slow")
def wait_for_file(message: ReceivedMessage) -> None:
    """Tell that it has begun, and go on when there is a file of that name."""
    publisher.send("/queue/begun", {"pid": os.getpid()})
    assert eventually(Path(message.payload).exists, 15)
