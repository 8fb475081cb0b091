"""`Faults` makes the broker misbehave on request.

`connection.exchange` applies the faults that wait for a frame. `Loop` applies the faults that wait for a connection.
Other faults take effect at once in the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from .connection import Connection
from .loop import Loop
from .rules import ACCEPT, Fault
from .session import error_frame

__all__ = ["Faults"]


class Faults:
    """The faults of one broker, which are available as `Broker.faults`.

    Most methods request a fault for the next frame of a client, and return a `Fault`. The common parameters are:

    * *on* - the command of the frame, such as ``"SEND"``. ``None`` means any frame.
    * *after* - how many of these frames pass before the first fault.
    * *times* - how often the fault happens. With ``None``, the fault happens at every such frame until it is cancelled.
    * *reset* - whether the connection is closed with a TCP reset.

    Frames are counted over all connections. `refuse` and `dribble` count new connections instead. `Fault.fired` is how
    often the fault has happened. `Fault.cancel` stops it from happening again. If several faults are due, only the
    oldest applies.
    """

    def __init__(self, loop: Loop) -> None:
        self._rules = loop.rules
        self._add = loop.rules.add
        self._loop = loop

    def refuse(self, *, after: int = 0, times: int | None = 1, reset: bool = False) -> Fault:
        """Accept the next TCP connection, and close it at once. If *reset* is true, the client gets a TCP reset."""
        return self._add(Fault(ACCEPT, after, times, abort=True, reset=reset))

    def stop_listening(self) -> None:
        """Close the listening socket. New connections are refused, and open connections stay open."""
        self._loop.call(self._loop.stop_listening)

    def listen_again(self) -> None:
        """Listen again after `stop_listening`. Raises `OSError` if another program uses the port now."""
        self._loop.call(self._loop.listen_again)

    def dribble(self, *, interval: float = 0.0, after: int = 0, times: int | None = 1) -> Fault:
        """Send everything on the next connection byte by byte, with *interval* seconds between two bytes."""
        return self._add(Fault(ACCEPT, after, times, dribble=interval))

    def close_connections(self, *, reset: bool = False) -> None:
        """Close all current connections, idle or not. If *reset* is true, the clients get a TCP reset."""
        self._each(lambda connection: self._loop.close(connection, "a fault was requested", reset=reset))

    def close_idle(self, seconds: float | None) -> None:
        """From now on, close a connection whose client sends nothing for *seconds*. ``None`` means no limit."""
        self._rules.idle_timeout = seconds
        self._each(lambda _: None)  # to set the timers anew

    def drop(self, on: str | None = None, *, after: int = 0, times: int | None = 1, reset: bool = False) -> Fault:
        """Close the connection on which a frame with the command *on* arrives. The frame has no effect."""
        return self._add(Fault(on, after, times, process=False, abort=True, reset=reset))

    def error(
        self,
        on: str | None = "SEND",
        message: str = "Fault",
        body: str = "this error was ordered",
        *,
        receipt_id: bool = True,
        close: bool = True,
        process: bool = False,
        after: int = 0,
        times: int | None = 1,
    ) -> Fault:
        """Send an ERROR as the answer to the next frame with the command *on*.

        * *message*, *body* - the header ``message`` and the body of the ERROR.
        * *receipt_id* - whether the ERROR has the frame's receipt id. ActiveMQ sends this id, but RabbitMQ does not.
        * *close* - whether the broker closes the connection after the ERROR, as the specification requires.
        * *process* - whether the frame takes effect although the answer is an ERROR.
        """
        instead = error_frame(message, body)
        return self._add(Fault(on, after, times, process=process, instead=instead, receipt_id=receipt_id, close=close))

    def freeze(self, on: str | None = None, *, after: int = 0, times: int | None = 1) -> Fault | None:
        """Stop reading and writing, like a stopped process.

        If *on* is ``None``, freeze all open and all new connections until `thaw`, and return ``None``. If *on* is a
        command, freeze the connection on which a frame with this command arrives. The broker processes this
        frame after `thaw`.
        """
        if on is None:
            self._rules.frozen = True
            self._each(lambda connection: connection.freeze())
            return None
        return self._add(Fault(on, after, times, freeze=True))

    def thaw(self) -> None:
        """End every freeze. The broker then processes the frames that have arrived."""
        self._rules.frozen = False
        self._each(lambda connection: connection.thaw())

    def close_before_receipt(
        self, on: str | None = "SEND", *, after: int = 0, times: int | None = 1, reset: bool = False
    ) -> Fault:
        """Let the broker process the frame, and then close the connection without an answer."""
        return self._add(Fault(on, after, times, answer=False, abort=True, reset=reset))

    def mute(self, on: str | None = "CONNECT", *, after: int = 0, times: int | None = 1) -> Fault:
        """Do not answer the next frame that has the command *on*. The connection stays open.

        If CONNECT gets no answer, the broker does not process this frame. No session begins, and the client receives
        nothing, not even heart-beats. Of all timeouts, only the timeout of `close_idle` can still close the connection.
        The broker processes any other frame that gets no answer, and heart-beats continue.
        """
        return self._add(Fault(on, after, times, answer=False))

    def delay(self, seconds: float, on: str | None = "SEND", *, after: int = 0, times: int | None = 1) -> Fault:
        """Delay the answer by *seconds*. The client gets later frames only after the answer."""
        return self._add(Fault(on, after, times, delay=seconds))

    def late_receipt(self, on: str | None = "SEND", *, after: int = 0, times: int | None = 1) -> Fault:
        """Hold the receipt back, and send the receipt right after the next receipt on the same connection."""
        return self._add(Fault(on, after, times, late=True))

    def duplicate_receipt(
        self, on: str | None = "SEND", *, copies: int = 2, after: int = 0, times: int | None = 1
    ) -> Fault:
        """Send the receipt *copies* times."""
        return self._add(Fault(on, after, times, copies=copies))

    def beats_before_answer(
        self, on: str | None = "SEND", *, count: int = 1, after: int = 0, times: int | None = 1
    ) -> Fault:
        """Send *count* heart-beats to the client right before the answer to the frame."""
        return self._add(Fault(on, after, times, before=b"\n" * count))

    def garbage(
        self,
        data: bytes = b"\xff\xfe garbage \xff\n",
        on: str | None = "SEND",
        *,
        close: bool = False,
        after: int = 0,
        times: int | None = 1,
    ) -> Fault:
        """Process the next frame with the command *on*, and send the bytes *data* instead of the answer."""
        return self._add(Fault(on, after, times, answer=False, after_answer=data, close=close))

    def error_unasked(
        self, message: str = "Fault", body: str = "this error was ordered", *, close: bool = True
    ) -> None:
        """Send an ERROR to every client now. If *close* is true, the connections are closed after the ERROR."""

        def send(connection: Connection) -> None:
            connection.answer([error_frame(message, body)])
            if close:
                self._loop.finish(connection)

        self._each(send)

    def write(self, data: bytes) -> None:
        """Send the bytes *data* to every client now."""
        self._each(lambda connection: connection.write(data))

    def clear(self) -> None:
        """Cancel all faults, end every freeze, and accept new connections again. Stop closing idle connections.

        A connection that is already affected by a `dribble` or a muted CONNECT stays affected.
        """
        self._rules.clear()
        self.thaw()
        self.close_idle(None)
        self._loop.call(lambda: self._loop.listen_again() if self._loop.running else None)

    def _each(self, step: Callable[[Connection], object]) -> None:
        def call() -> None:
            for connection in list(self._loop.connections.values()):
                step(connection)
                self._loop.touch(connection)

        self._loop.call(call)
