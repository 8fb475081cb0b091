"""The state of a broker as JSON: destinations, clients, and the faults that are switched on.

`Status` holds the lock `Loop.state` only for the short time in which `Status` copies counts and names.
"""

from __future__ import annotations

import json
import threading
import time
import typing

from ..connection import Connection
from ..loop import Loop
from ..rules import ACCEPT, Fault
from .choices import title_of

__all__ = ["MOST", "Status"]

#: The most destinations, clients, and subscriptions of one client that the page lists.
MOST: typing.Final = 1_000
#: Seconds between two readings, at the least. After a reading that took long, the next one waits 20 times as long.
_PAUSE = 0.2


class Status:
    """The state of the broker that runs in *loop*.

    All open pages share one `Status`, so that the state is read at most a few times a second.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._text = ""
        self._next = 0.0

    def text(self, *, now: bool = False) -> str:
        """Return the state as JSON. If *now* is true, read the state anew.

        If the state has not changed, return the same `str` object as before.
        """
        with self._lock:
            began = time.monotonic()
            if now or began >= self._next:
                text = json.dumps(self._read(), separators=(",", ":"))
                if text != self._text:
                    self._text = text
                ended = time.monotonic()
                self._next = ended + max(_PAUSE, 20 * (ended - began))
            return self._text

    def _read(self) -> dict[str, typing.Any]:
        loop = self._loop
        with loop.state:
            counts = loop.destinations.counts()
            connections = list(loop.connections.values())
            clients = [_client(each) for each in connections[:MOST]]
            received = dict(loop.destinations.journal.frames)
        names = sorted(counts)
        rules = loop.rules
        return {
            "destinations": [
                [name, each.accepted, each.waiting, each.unacknowledged, each.subscribers]
                for name, each in ((name, counts[name]) for name in names[:MOST])
            ],
            "more_destinations": max(len(names) - MOST, 0),
            "clients": clients,
            "more_clients": max(len(connections) - MOST, 0),
            "received": received,
            "faults": [_fault(fault) for fault in rules.active()],
            "running": loop.running,
            "listening": loop.listening,
            "frozen": rules.frozen,
            "idle_timeout": rules.idle_timeout,
        }


def _client(connection: Connection) -> dict[str, typing.Any]:
    # While a connection is in Loop.connections and the lock is held, its socket is open.
    session = connection.session
    subscriptions = list(session.subscriptions.values())
    try:
        peer = connection.sock.getpeername()
    except OSError:  # the client has reset the connection
        peer = ("", 0)
    return {
        "number": session.number,
        "address": f"{peer[0]}:{peer[1]}",
        "connected": session.connected and not session.ended,
        "login": session.login,
        "version": session.version,
        "heart_beat": list(session.heart_beat),
        "frozen": connection.frozen,
        "full": connection.output_full,
        "subscriptions": [
            [each.id, each.address.name, each.ack, len(each.unacknowledged), each.prefetch]
            for each in subscriptions[:MOST]
        ],
        "more_subscriptions": max(len(subscriptions) - MOST, 0),
    }


def _fault(fault: Fault) -> dict[str, typing.Any]:
    left = None if fault.times is None else fault.times - fault.fired
    on = "new connection" if fault.on == ACCEPT else fault.on
    return {"number": id(fault), "title": title_of(fault), "on": on, "left": left, "fired": fault.fired}
