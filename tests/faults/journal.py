"""Handlers that write down what they handle, for a worker of threads and for one of processes.

Each process appends to a file of its own, one line a message, written at once: what it has handled is known even if it
is killed in the next moment.
"""

from __future__ import annotations

import os
import threading
import typing
from pathlib import Path

from stomp_web.worker import ReceivedMessage

__all__ = ["FOLDER", "PAUSE", "Entry", "entries", "forget", "handled", "note"]

#: The environment variable that names the folder of the files.
FOLDER: typing.Final = "STOMP_WEB_TEST_JOURNAL"
#: The environment variable that says how many seconds a handler takes.
PAUSE: typing.Final = "STOMP_WEB_TEST_PAUSE"

_files: dict[int, int] = {}
_lock = threading.Lock()


class Entry(typing.NamedTuple):
    """One call of the handler."""

    message_id: str
    redelivered: bool


def note(message: ReceivedMessage) -> None:
    """The handler."""
    pid = os.getpid()
    with _lock:
        file = _files.get(pid)
        if file is None:
            file = os.open(Path(os.environ[FOLDER]) / f"{pid}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            _files[pid] = file
    os.write(file, f"{message.id} {int(message.redelivered)}\n".encode())
    if pause := float(os.environ.get(PAUSE, "0")):
        threading.Event().wait(pause)


def forget() -> None:
    """Close the files of this process."""
    for file in _files.values():
        os.close(file)
    _files.clear()


def entries(folder: Path) -> list[Entry]:
    """Everything that was noted, file by file; within a file in the order in which it happened."""
    found = []
    for file in sorted(folder.glob("*.txt")):
        for line in file.read_text().splitlines():
            message_id, redelivered = line.split()
            found.append(Entry(message_id, redelivered == "1"))
    return found


def handled(folder: Path) -> int:
    """How many messages were handled, each counted once."""
    return len({line.split()[0] for file in folder.glob("*.txt") for line in file.read_bytes().splitlines()})
