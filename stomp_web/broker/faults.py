"""`Faults` makes the broker misbehave on request.

`connection.exchange` applies the faults that wait for a frame, and `Loop` applies the faults that wait for a
connection. Other faults take effect at once, in the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from .connection import Connection
from .loop import Loop
from .rules import ACCEPT, Fault
from .session import error_frame

__all__ = ["Faults"]


class Faults:
    """The faults of one broker: `Broker.faults`.

    Most methods request a fault for the next frame of a client:

    * *on* - the command of the frame, such as ``"SEND"``; ``None`` means any frame.
    * *after* - how many such frames pass before the first fault.
    * *times* - how often the fault happens. With ``None``, it happens for every such frame until it is cancelled.

    Frames are counted over all connections. The methods return a `Fault`. Its attribute `fired` is the number of times
    that the fault has happened, and its method `cancel` ends the fault. If several faults are due for a frame, only the
    fault that was requested first applies.
    """

    def __init__(self, loop: Loop) -> None:
        self._rules = loop.rules
        self._add = loop.rules.add
        self._loop = loop

    def refuse(self, *, after: int = 0, times: int | None = 1, reset: bool = False) -> Fault:
        """Accept the TCP connection and close it at once. If *reset*, close it with a TCP reset."""
        return self._add(Fault(ACCEPT, after, times, abort=True, reset=reset))

    def stop_listening(self) -> None:
        """Close the listening socket: new connections are refused. Open connections stay open."""
        self._loop.call(self._loop.stop_listening)

    def listen_again(self) -> None:
        """End `stop_listening`. Raises `OSError` if another program uses the port now."""
        self._loop.call(self._loop.listen_again)

    def dribble(self, *, interval: float = 0.0, after: int = 0, times: int | None = 1) -> Fault:
        """Send everything on the next connection byte by byte, with *interval* seconds between two bytes."""
        return self._add(Fault(ACCEPT, after, times, dribble=interval))

    def close_connections(self, *, reset: bool = False) -> None:
        """Close all current connections, idle or not. If *reset*, close them with a TCP reset."""
        self._each(lambda connection: self._loop.close(connection, "a fault was requested", reset=reset))

    def close_idle(self, seconds: float | None) -> None:
        """From now on, close a connection whose client sends nothing for *seconds*; ``None`` means no limit."""
        self._rules.idle_timeout = seconds
        self._each(lambda _: None)  # to set the timers anew

    def drop(self, on: str | None = None, *, after: int = 0, times: int | None = 1, reset: bool = False) -> Fault:
        """Close the connection when the frame arrives. The frame has no effect."""
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
        """Answer the frame with an ERROR that has this *message* and *body*.

        * *receipt_id* - whether the ERROR has the frame's receipt id, as in ActiveMQ, or no receipt id, as in RabbitMQ.
        * *close* - whether the connection is closed after the ERROR, as the specification requires, or stays open.
        * *process* - the frame takes effect although its answer is an ERROR.
        """
        instead = error_frame(message, body)
        return self._add(Fault(on, after, times, process=process, instead=instead, receipt_id=receipt_id, close=close))

    def freeze(self, on: str | None = None, *, after: int = 0, times: int | None = 1) -> Fault | None:
        """Stop reading and writing, like a stopped process.

        Without *on*, all connections are frozen from now until `thaw`. New connections are accepted and frozen, too.
        With *on*, the connection on which the frame arrives is frozen. The frame takes effect after `thaw`.
        """
        if on is None:
            self._rules.frozen = True
            self._each(lambda connection: connection.freeze())
            return None
        return self._add(Fault(on, after, times, freeze=True))

    def thaw(self) -> None:
        """End every freeze. Frames that arrived meanwhile are processed now."""
        self._rules.frozen = False
        self._each(lambda connection: connection.thaw())

    def close_before_receipt(
        self, on: str | None = "SEND", *, after: int = 0, times: int | None = 1, reset: bool = False
    ) -> Fault:
        """Process the frame, and close the connection without an answer."""
        return self._add(Fault(on, after, times, answer=False, abort=True, reset=reset))

    def mute(self, on: str | None = "CONNECT", *, after: int = 0, times: int | None = 1) -> Fault:
        """Process the frame, and never answer it. The connection stays open, and heart-beats continue.

        But a muted CONNECT is not processed, and no session begins. The client receives nothing, and no timeout ends
        its connection, except the timeout of `close_idle`.
        """
        return self._add(Fault(on, after, times, answer=False))

    def delay(self, seconds: float, on: str | None = "SEND", *, after: int = 0, times: int | None = 1) -> Fault:
        """Delay the answer by *seconds*. Later frames to this client wait until the answer has been sent."""
        return self._add(Fault(on, after, times, delay=seconds))

    def late_receipt(self, on: str | None = "SEND", *, after: int = 0, times: int | None = 1) -> Fault:
        """Hold the receipt back, and send it right after the next receipt on the same connection."""
        return self._add(Fault(on, after, times, late=True))

    def duplicate_receipt(
        self, on: str | None = "SEND", *, copies: int = 2, after: int = 0, times: int | None = 1
    ) -> Fault:
        """Send the receipt *copies* times."""
        return self._add(Fault(on, after, times, copies=copies))

    def beats_before_answer(
        self, on: str | None = "SEND", *, count: int = 1, after: int = 0, times: int | None = 1
    ) -> Fault:
        """Send *count* heart-beats right before the answer."""
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
        """Process the frame, and send *data* instead of the answer."""
        return self._add(Fault(on, after, times, answer=False, after_answer=data, close=close))

    def error_unasked(
        self, message: str = "Fault", body: str = "this error was ordered", *, close: bool = True
    ) -> None:
        """Send an ERROR to every client now. If *close*, then close the connections."""

        def send(connection: Connection) -> None:
            connection.answer([error_frame(message, body)])
            if close:
                self._loop.finish(connection)

        self._each(send)

    def write(self, data: bytes) -> None:
        """Send the bytes *data* to every client now."""
        self._each(lambda connection: connection.write(data))

    def clear(self) -> None:
        """Cancel all faults, end every freeze, listen again, and stop closing idle connections.

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
