"""The leases of a pool, and the line of waiting callers. A lease is the right to use one connection.

This module takes no lock. A free lease is in a list or deque of the pool's `LeaseState`. A lease in use is held by one
caller. Lists, deques and queues are C code. So no other thread and no signal handler can interrupt a change to a list,
deque or queue. If an exception interrupts a caller, a lease may be lost. Then the finalizer of the lost lease makes a
new lease: see `Right`.

A caller that finds no free lease joins the line, and then looks for a lease again. A release puts a lease back, and
then looks at the line. So the caller sees the lease, or the release sees the caller.

The module changes the numbers of a `LeaseState` by ``+=`` without a lock. This operation is atomic here, because
CPython 3.11 to 3.15 switches threads and runs signal handlers only at calls and at the end of a loop iteration.
"""

from __future__ import annotations

import collections
import os
import time
import weakref

from .._internal.box import Box
from .._internal.right import Right
from ..client.publish import PublishClient
from ..client.state import ClientState
from .breaker import Breaker

__all__ = ["Lease", "LeaseState", "Waiter"]


class Lease(Right):
    """The right to one connection. The holder of a lease uses only `client`. Only the pool uses the other attributes.

    * `client` - the client, or ``None`` if there is no connection. `connection` is the client's state in this process.
    * `idle_since` - the time of the last release. After the time `expires_at`, the pool replaces the client. Both are
      times of `time.monotonic`.
    * `state` - the pool's `LeaseState` while a caller holds the lease. `loan` increases by 1 for every caller.
    """

    __slots__ = ("client", "connection", "expires_at", "idle_since", "loan", "state")

    def __init__(self, home: LeaseState) -> None:
        super().__init__(home)
        # A caller that holds the lease has a client; only the pool checks for ``None``.
        self.client: PublishClient = None  # type: ignore[assignment]
        self.connection: ClientState = None  # type: ignore[assignment]
        self.idle_since = self.expires_at = 0.0
        self.state: LeaseState | None = None
        self.loan = 0


class Waiter:
    """A caller in line. The pool puts a lease into `box`. If the pool is closed, the pool only wakes the caller."""

    __slots__ = ("began", "box", "gone")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.box: Box[Lease] = Box()
        self.gone = False  # true once the caller does not wait any more, and takes nothing out of `box`


class LeaseState:
    """The state of a pool in one process: the leases, the waiting callers and the statistics.

    * `idle` - the free leases with a connection. `take` prefers the lease that was used last. So surplus connections
      stay unused, and the pool closes these connections after `max_idle` seconds.
    * `vacant` - the free leases without a connection.
    * `waiting` - the callers in line. The first caller is served first.
    * `connect_turn` - a queue with one element. Only the caller that has taken the element may connect.
    """

    def __init__(self, pid: int, max_size: int) -> None:
        self.pid = pid
        # Lists are slower, but an empty deque takes 760 bytes. So only `idle`, which each message uses, is a deque.
        self.idle: collections.deque[Lease] = collections.deque()
        self.vacant: list[Lease] = []
        self.waiting: list[Waiter] = []
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        # This box is made when a process first uses the pool, because gunicorn's gevent worker replaces
        # `threading.Lock` after the fork. With the old class, a caller that waits here would stop other greenlets.
        self.connect_turn: Box[Right] = Box()
        self.connect_turn.put(Right(self))
        self.breaker = Breaker()
        self.upkeep_at = 0.0  # when `acquire` next looks for connections that are too old
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
        """Make a new `Right` in place of *lost*, which no list or caller holds any more. In a forked child, do nothing.

        If *lost* is a `Lease`, close its connection. The new lease starts without a connection.
        """
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
        """Remove and return a free lease, preferably with a connection. Return ``None`` if no lease is free."""
        while self.idle or self.vacant:
            try:
                return self.idle.pop() if self.idle else self.vacant.pop()
            except IndexError:  # another thread has taken the last one
                continue
        return None

    def put(self, lease: Lease) -> None:
        """Put *lease* back into `idle` or `vacant`. If callers wait, give them the free leases."""
        (self.vacant if lease.client is None else self.idle).append(lease)
        if self.waiting:
            self.serve()

    def serve(self) -> None:
        """Give free leases to the callers in line, until no lease is free or no caller waits."""
        while self.waiting and (self.idle or self.vacant):
            try:
                lease = self.idle.pop() if self.idle else self.vacant.pop()
            except IndexError:  # another thread has taken the last one
                continue
            try:
                waiter = self.waiting[0]
            except IndexError:  # another thread has served the last caller
                self.put(lease)
                return
            waiter.box.items.append(lease)
            waiter.box.wake()
            self.leave(waiter)
            # The waiter may just have gone, without seeing the lease. Then the lease is put back here.
            if waiter.gone:
                self.empty(waiter)

    def place(self, waiter: Waiter) -> int:
        """Return how many callers wait before *waiter*. Return 0 if *waiter* is not in line."""
        try:
            return self.waiting.index(waiter)
        except ValueError:
            return 0

    def leave(self, waiter: Waiter) -> None:
        """Remove *waiter* from the line. Do nothing if *waiter* is not in line."""
        try:
            self.waiting.remove(waiter)
        except ValueError:
            return

    def empty(self, waiter: Waiter) -> None:
        """Put the leases in `Waiter.box` back into `idle` or `vacant`, because *waiter* has stopped waiting."""
        while (lease := waiter.box.take()) is not None:
            (self.vacant if lease.client is None else self.idle).append(lease)

    def close_inherited(self) -> None:
        """In a forked child, close the descriptors of the parent's connections. The child sends nothing."""
        for lease in list(self.leases):
            if lease.client is not None:
                lease.client.close()
