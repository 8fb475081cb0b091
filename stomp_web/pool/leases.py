"""Leases: the right to one connection each, and the lines in which they lie and in which callers wait for them.

Nothing here takes a lock. A lease lies in a deque of its pool's `LeaseState`, or one caller has it. The deques and
queues of the standard library's C code change in one step, which no other thread and no signal handler divides. A lease
that an exception drops on the way is made anew when it is collected (`Right`).

A caller joins the line, and then looks for a lease; a lease is put back, and then the line is looked at. So one of both
sees the other. Numbers are changed by ``+=``: CPython 3.11 - 3.15 switches threads and runs signal handlers only at
calls and at the end of a loop's step, and so not in the middle of that.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import time
import weakref

from .._internal.right import Right
from ..client.publish import PublishClient
from ..client.state import ClientState
from .breaker import Breaker

__all__ = ["Lease", "LeaseState", "Waiter"]


class Lease(Right):
    """The right to have one connection. A caller that has it uses `client`; the rest is the pool's.

    * `client` - its client; ``None`` while the lease has no connection. `connection` - its client's state here.
    * `idle_since`, `expires_at` - when the client was put back last, and when it is to be replaced: `time.monotonic`.
    * `state` - of its pool and process, while a caller has the lease; `loan` - another number for each caller.
    """

    __slots__ = ("client", "connection", "expires_at", "idle_since", "loan", "state")

    def __init__(self, home: LeaseState) -> None:
        super().__init__(home)
        # A caller that has the lease has a client; only the pool asks whether there is one.
        self.client: PublishClient = None  # type: ignore[assignment]
        self.connection: ClientState = None  # type: ignore[assignment]
        self.idle_since = self.expires_at = 0.0
        self.state: LeaseState | None = None
        self.loan = 0


class Waiter:
    """A caller in line. `box` is where it gets its lease, or ``None``, for "look again"."""

    __slots__ = ("began", "box", "gone")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.box: queue.SimpleQueue[Lease | None] = queue.SimpleQueue()
        self.gone = False  # it waits no more, and takes nothing out of its box


class LeaseState:
    """What one process knows of a pool: its leases, its line of waiters, its numbers.

    * `idle` - leases with a connection that no caller has. The one used last is lent first, and the others grow old.
    * `vacant` - leases without a connection.
    * `waiting` - callers in line, first come, first served.
    * `connect_turn` - has one element, for the one caller that may connect.
    """

    def __init__(self, pid: int, max_size: int) -> None:
        self.pid = pid
        self.idle: collections.deque[Lease] = collections.deque()
        self.vacant: collections.deque[Lease] = collections.deque()
        self.waiting: collections.deque[Waiter] = collections.deque()
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        # Made when a process first uses the pool: gunicorn's gevent worker replaces `queue.SimpleQueue` after it has
        # forked, and a caller that waits here must let others run.
        self.connect_turn: queue.SimpleQueue[Right] = queue.SimpleQueue()
        self.connect_turn.put(Right(self))
        self.breaker = Breaker()
        self.upkeep_at = 0.0  # when a caller is to look for leases whose connection is too old
        self.loans = self.waits = self.timeouts = 0
        self.wait_seconds = 0.0
        self.opened = self.connect_errors = self.stale = self.retired = self.discarded = 0
        for _ in range(max_size):
            self._make_lease()

    def _make_lease(self) -> None:
        lease = Lease(self)
        self.leases.add(lease)
        self.vacant.append(lease)

    def restore(self, lost: Right) -> None:
        """Put a new right, or a lease without a connection, in the place of *lost*. Not in a child."""
        if self.pid != os.getpid():
            return
        if isinstance(lost, Lease):
            self._make_lease()
            client = lost.client
            if client is not None:
                self.discarded += 1
                client.retire()
            self.serve()
        else:
            self.connect_turn.put(Right(self))

    def take(self) -> Lease | None:
        """Take a lease, with a connection if there is one; ``None`` if all are out."""
        try:
            return self.idle.pop()
        except IndexError:
            pass
        try:
            return self.vacant.pop()
        except IndexError:
            return None

    def put(self, lease: Lease) -> None:
        """Put *lease* where it belongs, and serve the line."""
        (self.vacant if lease.client is None else self.idle).append(lease)
        if self.waiting:
            self.serve()

    def serve(self) -> None:
        """Give leases to those in line, as long as there are both."""
        while self.waiting:
            lease = self.take()
            if lease is None:
                return
            try:
                waiter = self.waiting[0]
            except IndexError:  # another thread has served the last one
                self.put(lease)
                return
            waiter.box.put(lease)
            self.leave(waiter)
            # It may have gone a moment before: then it has not seen the lease, or puts it back itself.
            if waiter.gone:
                self.empty(waiter)

    def place(self, waiter: Waiter) -> int:
        """How many callers stand in line before *waiter*; 0 if it was served."""
        try:
            return self.waiting.index(waiter)
        except ValueError:
            return 0

    def leave(self, waiter: Waiter) -> None:
        """Take *waiter* out of the line, if it is still there."""
        with contextlib.suppress(ValueError):
            self.waiting.remove(waiter)

    def empty(self, waiter: Waiter) -> None:
        """Put back what lies in the box of a *waiter* that has gone."""
        while True:
            try:
                lease = waiter.box.get_nowait()
            except queue.Empty:
                return
            if lease is not None:
                (self.vacant if lease.client is None else self.idle).append(lease)

    def close_inherited(self) -> None:
        """In a child: close the descriptors that are the parent's, without writing a byte."""
        for lease in list(self.leases):
            if lease.client is not None:
                lease.client.close()
