"""Leases: each is the right to one connection. Also the deques that hold leases, and the line of callers.

Nothing here takes a lock. A lease lies in a deque of its pool's `LeaseState`, or one caller has it. The deques and
queues of the standard library's C code change in one step, which no other thread and no signal handler divides. If an
exception drops a lease on the way, a new lease is made when the lost one is collected (`Right`).

A caller joins the line, and then looks for a lease; a release puts a lease back, and then looks at the line. So at
least one of the two sees the other. Numbers are changed by ``+=``: CPython 3.11 - 3.15 switches threads and runs signal
handlers only at calls and at the end of a loop's step, and so not in the middle of a ``+=``.
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
    """The right to one connection. A caller that has the lease uses `client`; only the pool uses the rest.

    * `client` - the client; ``None`` while the lease has no connection. `connection` - its state in this process.
    * `idle_since` - when the client was last put back; `expires_at` - when to replace it. Both are `time.monotonic`.
    * `state` - the pool's `LeaseState` while a caller has the lease; `loan` - a new number for each caller.
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
    """A caller in line. It gets its lease in `box`, or ``None``, which means "look again"."""

    __slots__ = ("began", "box", "gone")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.box: queue.SimpleQueue[Lease | None] = queue.SimpleQueue()
        self.gone = False  # the caller does not wait any more, and takes nothing out of its box


class LeaseState:
    """The state of a pool in one process: its leases, its line of waiters, its numbers.

    * `idle` - leases with a connection that no caller has. The lease used last is lent first, so the others grow old.
    * `vacant` - leases without a connection.
    * `waiting` - callers in line, first come, first served.
    * `connect_turn` - holds one element; the caller that takes it may connect.
    """

    def __init__(self, pid: int, max_size: int) -> None:
        self.pid = pid
        self.idle: collections.deque[Lease] = collections.deque()
        self.vacant: collections.deque[Lease] = collections.deque()
        self.waiting: collections.deque[Waiter] = collections.deque()
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        # Made when a process first uses the pool: gunicorn's gevent worker replaces `queue.SimpleQueue` after the fork,
        # and only with the new class a caller that waits here lets others run.
        self.connect_turn: queue.SimpleQueue[Right] = queue.SimpleQueue()
        self.connect_turn.put(Right(self))
        self.breaker = Breaker()
        self.upkeep_at = 0.0  # when a caller should next look for connections that are too old
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
        """Take a lease, preferably one with a connection; ``None`` if all are out."""
        try:
            return self.idle.pop()
        except IndexError:
            pass
        try:
            return self.vacant.pop()
        except IndexError:
            return None

    def put(self, lease: Lease) -> None:
        """Put *lease* into `idle` or `vacant`, and serve the line."""
        (self.vacant if lease.client is None else self.idle).append(lease)
        if self.waiting:
            self.serve()

    def serve(self) -> None:
        """Give leases to callers in line, while there are leases and callers."""
        while self.waiting:
            lease = self.take()
            if lease is None:
                return
            try:
                waiter = self.waiting[0]
            except IndexError:  # another thread has served the last caller
                self.put(lease)
                return
            waiter.box.put(lease)
            self.leave(waiter)
            # The waiter may have just gone. If it has not seen the lease, the lease is put back here.
            if waiter.gone:
                self.empty(waiter)

    def place(self, waiter: Waiter) -> int:
        """How many callers stand in line before *waiter*; 0 if *waiter* was served."""
        try:
            return self.waiting.index(waiter)
        except ValueError:
            return 0

    def leave(self, waiter: Waiter) -> None:
        """Take *waiter* out of the line, if it is still there."""
        with contextlib.suppress(ValueError):
            self.waiting.remove(waiter)

    def empty(self, waiter: Waiter) -> None:
        """Put back a lease that lies in the box of a *waiter* that has gone."""
        while True:
            try:
                lease = waiter.box.get_nowait()
            except queue.Empty:
                return
            if lease is not None:
                (self.vacant if lease.client is None else self.idle).append(lease)

    def close_inherited(self) -> None:
        """In a child: close the parent's descriptors without writing a byte."""
        for lease in list(self.leases):
            if lease.client is not None:
                lease.client.close()
