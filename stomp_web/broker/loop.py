"""The broker's only thread, which serves the listening socket and all connections with a selector.

Only the loop's thread uses sockets. Other threads pass a function to `Loop.call`. `Loop.state` is the lock for
destinations, sessions and journal. No thread holds this lock during a read or write of a socket.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import heapq
import itertools
import os
import selectors
import socket
import ssl
import threading
import time
import typing
import weakref

from .._internal.wakeup import Wakeup
from ..errors import ProtocolError
from .connection import Connection, Limits, exchange
from .destinations import Destinations
from .messages import log, notices
from .rules import ACCEPT, FaultRules
from .session import Session, Settings, error_frame

__all__ = ["Loop"]

_T = typing.TypeVar("_T")
_running: weakref.WeakSet[Loop] = weakref.WeakSet()
_ACCEPTS_AT_ONCE = 100


@dataclasses.dataclass(eq=False, repr=False)
class Loop:
    """A server for the clients of one broker.

    `run` serves the clients until `ask_to_stop` is called. The function *listen* returns a listening socket.
    """

    listen: typing.Callable[[], socket.socket]
    tls: ssl.SSLContext | None
    settings: Settings
    limits: Limits
    destinations: Destinations

    def __post_init__(self) -> None:
        self.rules = FaultRules()
        #: The lock for all state. `changed` wakes the threads that wait for a change.
        self.state = threading.Condition()
        #: The open connections by session number. A thread must hold `state` to change this dictionary.
        self.connections: dict[int, Connection] = {}
        self.running = False
        #: How often `changed` was called.
        self.changes = 0
        self._numbers = itertools.count(1)
        self._order = itertools.count()  # of timers that are due at the same time
        self._wakeup = Wakeup()
        self._stopping = False

    def prepare(self) -> None:
        """Forget earlier calls of `ask_to_stop`.

        A later call of `ask_to_stop` ends the next `run`, even if the call comes before `open`.
        """
        self._stopping = False

    def open(self) -> None:
        """Listen at the address. Call `prepare` first. Raises `OSError` if the address cannot be used."""
        self._listener: socket.socket | None = self.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup.fileno(), selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._calls: list[tuple[typing.Callable[[], object], concurrent.futures.Future[typing.Any]]] = []
        self._timers: list[tuple[float, int, Connection | None]] = []
        self._touched: dict[Connection, None] = {}
        _running.add(self)
        with self.state:
            self.running = True
            self.changed()

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted."""
        return self.running and self._listener is not None

    def call(self, function: typing.Callable[[], _T], timeout: float = 30.0) -> _T:
        """Run *function* in the loop's thread, or in the caller's thread if the loop does not run. Return the result.

        Raises `TimeoutError` if the result takes longer than *timeout* seconds.
        """
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        with self.state:
            if not self.running:
                return function()
            self._calls.append((function, future))
        self._wakeup.wake()
        return future.result(timeout)

    def changed(self) -> None:
        """Wake the threads that wait for a change of the broker's state. The caller must hold the lock `state`."""
        self.changes += 1
        self.state.notify_all()

    def ask_to_stop(self) -> None:
        """Make `run` return soon. Any thread and any signal handler may call this method."""
        self._stopping = True
        self._wakeup.wake()

    def run(self) -> None:
        """Serve until `ask_to_stop` is called. Then close everything that `open` has opened."""
        try:
            while not self._stopping:
                self._round()
        finally:
            self._shut_down()

    def _round(self) -> None:
        for key, events in self._selector.select(self._timeout()):
            connection: Connection | None = key.data
            if connection is not None:
                self._ready(connection, events)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                self._wakeup.drain()
        self._run_calls()
        self._run_timers()
        self._dispatch()
        touched, self._touched = self._touched, {}
        for connection in touched:
            self._write_and_wait(connection)
        notices.publish()

    def _timeout(self) -> float | None:
        if self._touched:
            return 0.0
        return max(self._timers[0][0] - time.monotonic(), 0.0) if self._timers else None

    def _run_calls(self) -> None:
        while self._calls:
            with self.state:
                calls, self._calls = self._calls, []
            for function, future in calls:
                try:
                    future.set_result(function())
                except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                    future.set_exception(error)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, connection = heapq.heappop(self._timers)
            if connection is None:
                if self._listener is not None:
                    self._selector.register(self._listener, selectors.EVENT_READ)
            elif not connection.closed and connection.timer == due:
                connection.timer = None
                reason = connection.tick(now)
                if reason is None:
                    self.touch(connection)
                else:
                    self.close(connection, reason)

    def _shut_down(self) -> None:
        self.stop_listening()
        for connection in list(self.connections.values()):
            with contextlib.suppress(OSError):
                connection.flush()
            self.close(connection, "the broker stops")
        with self.state:
            self.running = False
        self._run_calls()
        self._selector.close()
        self._wakeup.close()
        notices.publish()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            if self._listener is None:
                return
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                notices.add(log.warning, "cannot accept a connection: %s", str(error))
                # Probably too many open files. Retrying at once would waste processor time.
                self._selector.unregister(self._listener)
                heapq.heappush(self._timers, (time.monotonic() + 0.1, next(self._order), None))
                return
            self._add(sock)

    def _add(self, sock: socket.socket) -> None:
        number = next(self._numbers)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            notices.add(log.info, "connection %d: %s", number, str(error))
            sock.close()
            return
        session = Session(number, self.settings, self.destinations)
        connection = Connection(sock, session, self.limits, self.rules)
        with self.state:
            self.destinations.journal.connections_accepted += 1
            self.connections[number] = connection
            self.changed()
        fault = self.rules.due(ACCEPT)
        connection.dribble = fault.dribble
        if fault.abort:
            self.close(connection, "a fault was requested", reset=fault.reset)
        else:
            self.touch(connection)

    def _ready(self, connection: Connection, events: int) -> None:
        if connection.closed:
            return
        self.touch(connection)
        if not events & selectors.EVENT_READ:
            return
        try:
            data = connection.receive()
        except OSError as error:
            self.close(connection, str(error))
            return
        if data == b"":
            connection.ended = True
            self.finish(connection)
        elif data and not connection.finishing:
            connection.buffer.append(data)
            self._consume(connection)

    def _consume(self, connection: Connection) -> None:
        """Process the frames that have arrived. Stop early if too much output waits for the client."""
        with self.state:
            try:
                while connection.handles_frames and exchange(connection, self.destinations.journal):
                    pass
                connection.held_back = not connection.handles_frames
            except ProtocolError as error:
                notices.add(log.warning, "connection %d: %s", connection.session.number, str(error))
                connection.session.ended = True
                connection.answer([error_frame("Malformed frame", str(error))])
            except Exception as error:  # noqa: BLE001
                # A bug in the broker's code ends this connection, but not the broker.
                number = connection.session.number
                notices.add(log.error, "connection %d: an error of the broker", number, exc_info=error)
                connection.aborted = True
            if connection.aborted:
                connection.session.end()
            elif connection.session.ended:
                self.finish(connection)
            self.changed()

    def finish(self, connection: Connection) -> None:
        """End the session. Close *connection* when all waiting output has been written."""
        if not connection.finishing:
            connection.finish()
        with self.state:
            connection.session.end()
            self.changed()

    def _dispatch(self) -> None:
        """Deliver waiting messages to ready subscribers."""
        with self.state:
            for subscription, entry in self.destinations.deliveries():
                connection = self.connections[subscription.flow.session]
                connection.answer([connection.session.deliver(subscription, entry)])
                connection.session.flow.open = not connection.output_full
                self.touch(connection)

    def _write_and_wait(self, connection: Connection) -> None:
        """Write the waiting output of *connection*. Then register the events and the timer of *connection*."""
        if connection.closed:
            return
        try:
            connection.flush()
        except OSError as error:
            self.close(connection, str(error))
            return
        if connection.aborted or (connection.lingering and connection.ended):
            self.close(connection, "done", reset=connection.reset)
            return
        if not (connection.output_full or connection.finishing or connection.frozen):
            self._resume(connection)
        events = connection.wanted_events()
        if events != connection.events:
            if not connection.events:
                self._selector.register(connection.sock, events, connection)
            elif not events:
                self._selector.unregister(connection.sock)
            else:
                self._selector.modify(connection.sock, events, connection)
            connection.events = events
        due = connection.next_time()
        if due is not None and (connection.timer is None or due < connection.timer):
            connection.timer = due
            heapq.heappush(self._timers, (due, next(self._order), connection))

    def _resume(self, connection: Connection) -> None:
        """Resume the deliveries to *connection*, and process the received frames that were held back.

        Call this method only if *connection* is neither finishing nor frozen, and its output is not full.
        """
        flow = connection.session.flow
        if not flow.open:
            with self.state:
                flow.open = True
                for subscription in connection.session.subscriptions.values():
                    self.destinations.wake(subscription)
            self.touch(connection)
        if connection.held_back:
            self._consume(connection)
            self.touch(connection)

    def touch(self, connection: Connection) -> None:
        """Record that the output, the events or the timer of *connection* may have changed."""
        self._touched[connection] = None

    def close(self, connection: Connection, reason: str, *, reset: bool = False) -> None:
        """Close *connection* at once, and log *reason*. If *reset* is true, close with a TCP reset."""
        if connection.closed:
            return
        # Change the state first: when the client sees the end of the stream, the session must be gone.
        with self.state:
            connection.session.end()
            del self.connections[connection.session.number]
            self.changed()
        if connection.events:
            self._selector.unregister(connection.sock)
            connection.events = 0
        connection.close(reset=reset)
        notices.add(log.info, "connection %d: closed: %s", connection.session.number, reason)

    def stop_listening(self) -> None:
        """Close the listening socket. New connections are refused."""
        if self._listener is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def listen_again(self) -> None:
        """Listen on the same port again."""
        if self._listener is None:
            self._listener = self.listen()
            self._selector.register(self._listener, selectors.EVENT_READ)

    def abandon(self) -> None:
        """Close the sockets in a forked child without sending anything. The broker continues in the parent."""
        self.state = threading.Condition()
        self.running = False
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()
        if self._listener is not None:
            self._listener.close()
        self._selector.close()
        self._wakeup.close()


def _abandon_all() -> None:
    for loop in list(_running):
        if loop.running:
            loop.abandon()


if hasattr(os, "register_at_fork"):
    # Otherwise a child would keep the connections open, and clients would not notice that the broker closes them.
    os.register_at_fork(after_in_child=_abandon_all)
