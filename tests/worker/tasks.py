"""Handlers that a process can import. The payload says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import typing
from pathlib import Path

from stomp_web import PublishClient
from stomp_web.worker import ReceivedMessage, Reject
from tests.client.scripted import PATIENCE, eventually

#: Noted by `initialize`, in the process only.
initialized: list[str] = []
_around: list[str] = []


def initialize() -> None:
    initialized.append("yes")


def initialize_badly() -> None:
    raise LookupError("no settings")


@contextlib.contextmanager
def around() -> typing.Iterator[None]:
    _around.append("entered")
    yield
    _around.append("left")


def tell(message: ReceivedMessage) -> None:
    """Send where and how the message is handled to the queue that its payload names."""
    told = {
        "pid": os.getpid(),
        "thread": threading.current_thread().name,
        "initialized": initialized,
        "around": _around[-1:],
        "redelivered": message.redelivered,
        "failures": message.failures,
        "id": message.id,
        "number": message.payload.get("number"),
    }
    send(message, told)


def tell_when_two_have_begun(message: ReceivedMessage) -> None:
    """Tell as soon as two processes have got a message. Each leaves a file in the folder that the payload names."""
    folder = Path(message.payload["folder"])
    (folder / str(os.getpid())).touch()
    if not eventually(lambda: len(list(folder.iterdir())) == 2):
        raise TimeoutError("no other process has got a message")
    tell(message)


def send(message: ReceivedMessage, what: dict[str, typing.Any]) -> None:
    with PublishClient.from_url(message.payload["url"], timeout=PATIENCE, connect_timeout=PATIENCE) as client:
        told = message.payload.get("told", "/queue/told")
        client.send(told, json.dumps(what), content_type="application/json", confirm=True)


def fail(message: ReceivedMessage) -> None:
    raise LookupError("in the process")


def reject(message: ReceivedMessage) -> None:
    raise Reject("in the process")


def die_once(message: ReceivedMessage) -> None:
    """Die as if killed, the first time; then tell."""
    if not message.failures:
        os.kill(os.getpid(), signal.SIGKILL)
    tell(message)


def die(message: ReceivedMessage) -> None:
    os._exit(7)


def leave(message: ReceivedMessage) -> None:
    sys.exit("in the process")


def wait_for_death(message: ReceivedMessage) -> None:
    """Tell the process's number, and wait until the test kills it, the first time."""
    tell(message)
    if not message.failures:
        threading.Event().wait(600)


def fork_and_die(message: ReceivedMessage) -> None:
    """Leave a child behind, which has all that this process has, and die."""
    if os.fork() == 0:
        threading.Event().wait(5)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
