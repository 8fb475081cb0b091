"""The methods by which a client connects, listens and disconnects. The loop is in `stomp_web.client.loop`."""

from __future__ import annotations

import threading
import time
import typing

from .._internal.log import get_logger
from .._internal.redacted import redact_secret
from ..connection.deadline import Deadline
from ..connection.session import Session
from ..errors import BrokerUnavailable, ConnectionLost, DeliveryUnknown, NotSent, StompError
from ..protocol import Frame, commands
from .loop import Loop
from .queues import FrameQueue

__all__ = ["LoopClient"]

_log = get_logger("client")


class _WakingEvent(threading.Event):
    """An event whose `set` method wakes the loop, even from a signal handler in the thread of the loop."""

    def __init__(self, wake: typing.Callable[[], object]) -> None:
        super().__init__()
        self._wake = wake

    def set(self) -> None:
        super().set()
        self._wake()


class _ClosedMeanwhileError(BrokerUnavailable):
    """Another thread closed the client while this thread was connecting."""


class LoopClient(Loop):
    """A client that starts no thread.

    `listen_forever` drives the connection. While this method does not run, other calls drive the connection.
    """

    def _set_up_loop(self, queue_size: int, message_queue: FrameQueue | None) -> None:
        super()._set_up_loop(queue_size, message_queue)
        #: The event is set while `listen_forever` runs.
        self.listening_event = self._driver.listening_event
        #: Set this event to end `listen_forever`. A signal handler may set the event.
        self.shutdown_event: threading.Event = _WakingEvent(self._driver.wakeup.wake)
        self._ending = False  # disconnect() or close() has set `shutdown_event`; the next connection clears it
        self._closes = 0  # how often the client was closed; another thread may close it while this one connects

    def connect(
        self, login: str | None = None, passcode: str | None = None, headers: typing.Mapping[str, str] | None = None
    ) -> Frame:
        """Open the connection, and return the CONNECTED frame. `connected_queue` gets this frame too.

        The call is optional, because `listen_forever` connects. If the client is connected, the call ignores its
        arguments. `PublishClient.connect` describes the arguments and the exceptions.
        """
        passcode = redact_secret("passcode", passcode)
        given = self._read_credentials(login, passcode, headers)
        self._refuse_inherited()
        session = self._session
        if session is not None:
            return session.connected_frame
        self._credentials = {**self._credentials, **given}
        deadline = Deadline(self.timeout)
        with self._driving(deadline):
            return self._connected_session(deadline).connected_frame

    def _connected_session(self, deadline: Deadline) -> Session:
        """Return the session. Connect first if there is no session. Only the driving thread may call this method."""
        session = self._session
        if session is None:
            self.shutdown_event.clear()
            session = self._open(deadline)
        return session

    def _open(self, deadline: Deadline) -> Session:
        closes = self._closes
        session = self._connector.open(deadline, **self._credentials)
        with self._driver.lock:
            closed = self._closes != closes
            if not closed:
                self._session = session
        if closed:
            session.close()
            raise _ClosedMeanwhileError(f"the client was closed while it connected to {session.broker}")
        self._take_back_the_ending()
        self._begin(session)
        _log.info("connected to %s (%s, STOMP %s)", session.broker, session.server, session.version)
        return session

    @property
    def connected(self) -> bool:
        """Whether the client has a session, as far as the client knows. Reading the property never waits.

        While a loop or a call uses the connection, the value is true until the loop or call notices the session's end.
        At other times, the property looks at the socket. If the session has ended but received frames are unread, the
        value is still true.
        """
        session = self._session
        if session is None or self._inherited:
            return False
        if not self._driver.drive_if_idle():
            return self._session is session
        try:
            return not session.ended()
        finally:
            self._leave()

    def is_overdue(self, seconds: float) -> bool:
        """Return whether the broker's heart-beat is at least *seconds* late.

        A working loop ends if a heart-beat is late. So if the result is true, the loop hangs.
        """
        return self._session is not None and self._beats.overdue(time.monotonic() - seconds) is not None

    def listen_forever(self, *, connect: bool = True) -> None:
        """Receive frames until `shutdown_event` is set or the connection ends. Any thread may run the loop.

        The loop connects first if necessary. If *connect* is false, the loop never connects. After `subscribe`, use
        ``connect=False``, because a new session would have no subscriptions. The loop sends heart-beats, and puts each
        frame on the queue for this kind of frame. When a thread or a signal handler sets `shutdown_event`, the loop
        sends DISCONNECT and returns.

        Raises `BrokerUnavailable` or `AuthenticationFailed` if the loop cannot connect. If the connection ends without
        a shutdown, raises `Rejected` or `ConnectionLost`. `Rejected` means that the broker sent an ERROR to
        refuse a frame.
        """
        with self._driving(self._deadline(None)):
            if self.listening_event.is_set():
                raise StompError("this client's loop is running already, in this thread")
            self._take_back_the_ending()
            if self._session is None and not self.shutdown_event.is_set():
                if not connect:
                    raise self._reason or self._not_connected()
                try:
                    self._open(self._deadline(None))
                except _ClosedMeanwhileError:
                    return
            self._driver.wakeup.fileno()  # open it before the event is set: a later shutdown wakes the loop
            self.listening_event.set()
            try:
                self._drive(self.shutdown_event.is_set, None)
            except StompError:
                if not self.shutdown_event.is_set():
                    raise
            except Exception as error:
                # An error of a callback, or a bug of this library: waiting threads must not wait for ever.
                self._end(ConnectionLost(f"the loop has ended: {error!r}", broker=self.broker))
                raise
            finally:
                self.listening_event.clear()
            if not self._ending:
                self.disconnect()

    def fileno(self) -> int:
        """Return the socket's descriptor for your own selector. Call `process` when the socket is readable.

        Raises `BrokerUnavailable` if the client is not connected.
        """
        return self._live_session().transport.fileno()

    @property
    def writing(self) -> bool:
        """Whether bytes wait to be written. If true, also call `process` when the socket is writable."""
        return bool(self._exchanges.backlog)

    def process(self) -> float | None:
        """Write and read without waiting. Call this method if you use your own selector.

        Call this method again after you have taken frames from a full `message_queue`. For the heart-beats, call again
        after the returned number of seconds. ``None`` means no heart-beats. Raises the exceptions of `listen_forever`.
        """
        with self._driving(self._deadline(None)):
            self._live_session()
            while self._step(0.0):
                pass
            return self._beats.rest(time.monotonic(), self._reading)

    def disconnect(self, timeout: float | None = None) -> None:
        """Send DISCONNECT, and wait at most *timeout* seconds for its receipt. Then close the connection.

        A running loop ends without an exception. If the client is not connected, the method sends nothing.
        """
        deadline = self._deadline(timeout)
        if self._session is None or self._inherited:
            self.close()
            return
        self._end_the_loop()
        with self._driver.lock:
            parting, self._received.parting = self._received.parting, True
        if parting:  # another thread disconnects already; if the calling thread drives, the other one waits for it
            self._driver.await_done(lambda: self._session is None, deadline, self._drive)
            return
        try:
            self._call(commands.disconnect(), deadline)
        except (NotSent, DeliveryUnknown) as error:
            _log.info("the DISCONNECT to %s was not answered: %s", self.broker, error)
        finally:
            self._end(ConnectionLost(f"the client has disconnected from {self.broker}", broker=self.broker))

    def close(self) -> None:
        """Close the connection at once, without DISCONNECT. Further calls do nothing."""
        session = self._session
        if session is not None and self._inherited:
            session.close()  # nothing else: a lock may be held by a thread that only exists in the parent
            return
        self._end_the_loop()
        self._end(ConnectionLost(f"the client has closed its connection to {self.broker}", broker=self.broker))

    def _end_the_loop(self) -> None:
        with self._driver.lock:
            self._closes += 1
        if self.listening_event.is_set() and not self.shutdown_event.is_set():
            self._ending = True
            self.shutdown_event.set()

    def _take_back_the_ending(self) -> None:
        if self._ending:
            self._ending = False
            self.shutdown_event.clear()
