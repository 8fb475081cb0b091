"""`Faults`: what a test says to a broker that is to misbehave.

Each method orders one kind of fault. What it waits for, how many it lets pass and how often it happens are the same
three arguments everywhere. A fault that waits for a frame is a `Fault` in `rules`, and `exchange` does what it says;
one that happens at once is done from here, in the loop's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rules import ACCEPT, Fault, FaultRules
from .session import error_frame

if TYPE_CHECKING:
    from .loop import Loop

__all__ = ["Faults"]


class Faults:
    """The faults of one broker, as `Broker.faults`.

    Most methods order a fault for the next frame of a client:

    * *on* - the command that it waits for, such as ``"SEND"``; ``None``: any frame.
    * *after* - how many of those frames pass unharmed before.
    * *times* - how often it happens; ``None``: from now on, until it is cancelled.

    Frames are counted over all connections. They return the `Fault`, whose `fired` tells how often it has happened
    and whose `cancel()` ends it. A frame meets one fault at most, the one that was ordered first.
    """

    def __init__(self, rules: FaultRules, loop: Loop) -> None:
        self._rules = rules
        self._loop = loop

    # -- connections ------------------------------------------------------------------------------------------

    def refuse(self, *, after: int = 0, times: int | None = 1, reset: bool = False) -> Fault:
        """Accept the TCP connection and close it at once; with *reset*, by a TCP reset."""
        return self._add(Fault(ACCEPT, after, times, abort=True, reset=reset))

    def stop_listening(self) -> None:
        """Close the listening socket: who connects from now on is refused by the system. Others are not disturbed."""
        self._loop.call(self._loop.stop_listening)

    def listen_again(self) -> None:
        """End `stop_listening`. Raises `OSError` if somebody else has taken the port."""
        self._loop.call(self._loop.listen_again)

    def dribble(self, *, interval: float = 0.0, after: int = 0, times: int | None = 1) -> Fault:
        """Send everything on the next connection byte by byte, *interval* seconds between two bytes."""
        return self._add(Fault(ACCEPT, after, times, dribble=interval))

    def close_connections(self, *, reset: bool = False) -> None:
        """Close all present connections, idle or not; with *reset*, by a TCP reset."""

        def close() -> None:
            for connection in list(self._loop.connections.values()):
                self._loop.close(connection, "a fault was ordered", reset=reset)

        self._loop.call(close)

    def close_idle(self, seconds: float | None) -> None:
        """From now on, close connections whose clients send nothing for *seconds*; ``None``: no more."""
        self._loop.call(lambda: self._set_idle_timeout(seconds))

    # -- instead of doing what a frame asks for ----------------------------------------------------------------

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
        """Answer the frame with an ERROR of this *message* and *body*.

        * *receipt_id* - it names the receipt that the frame asked for, as ActiveMQ's does; false: as RabbitMQ.
        * *close* - the connection is closed then, as the specification wants; false: it stays open.
        * *process* - the frame takes effect nevertheless.
        """
        return self._add(
            Fault(
                on,
                after,
                times,
                process=process,
                instead=error_frame(message, body),
                receipt_id=receipt_id,
                close=close,
            )
        )

    def freeze(self, on: str | None = None, *, after: int = 0, times: int | None = 1) -> Fault | None:
        """Neither read nor answer nor beat, as a process that was stopped; new connections are accepted by TCP only.

        Without *on*: all connections, from now until `thaw`. With it: the connection on which the frame arrives,
        which takes effect after `thaw`.
        """
        if on is None:
            self._loop.call(self._freeze_all)
            return None
        return self._add(Fault(on, after, times, freeze=True))

    def thaw(self) -> None:
        """End every freeze. What had arrived in the meantime is done now."""
        self._loop.call(self._thaw_all)

    # -- the frame takes effect, and the answer is wrong -------------------------------------------------------

    def close_before_receipt(
        self, on: str | None = "SEND", *, after: int = 0, times: int | None = 1, reset: bool = False
    ) -> Fault:
        """Do what the frame asks for, and close the connection without an answer."""
        return self._add(Fault(on, after, times, answer=False, abort=True, reset=reset))

    def mute(self, on: str | None = "CONNECT", *, after: int = 0, times: int | None = 1) -> Fault:
        """Do what the frame asks for, and never answer. The connection stays open, and heart-beats go on.

        A muted CONNECT makes no session: the client hears nothing at all, and waits as long as it likes.
        """
        return self._add(Fault(on, after, times, answer=False))

    def delay(self, seconds: float, on: str | None = "SEND", *, after: int = 0, times: int | None = 1) -> Fault:
        """Send the answer *seconds* later, and behind it all that follows on the connection. Others are not held up."""
        return self._add(Fault(on, after, times, delay=seconds))

    def late_receipt(self, on: str | None = "SEND", *, after: int = 0, times: int | None = 1) -> Fault:
        """Keep the receipt back until another receipt of the connection has been sent, and send it right behind."""
        return self._add(Fault(on, after, times, late=True))

    def duplicate_receipt(
        self, on: str | None = "SEND", *, copies: int = 2, after: int = 0, times: int | None = 1
    ) -> Fault:
        """Send the receipt more than once."""
        return self._add(Fault(on, after, times, copies=copies))

    def beats_before_answer(
        self, on: str | None = "SEND", *, count: int = 1, after: int = 0, times: int | None = 1
    ) -> Fault:
        """Send *count* heart-beats, line ends, right before the answer."""
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
        """Send *data* in place of the answer. The frame takes effect."""
        return self._add(Fault(on, after, times, answer=False, after_answer=data, close=close))

    # -- without a frame --------------------------------------------------------------------------------------

    def error_unasked(
        self, message: str = "Fault", body: str = "this error was ordered", *, close: bool = True
    ) -> None:
        """Send an ERROR to every client now; close the connections unless *close* is false."""

        def tell() -> None:
            for connection in self._loop.connections.values():
                connection.answer([error_frame(message, body)])
                if close:
                    self._loop.finish_soon(connection)
                self._loop.touch(connection)

        self._loop.call(tell)

    def write(self, data: bytes) -> None:
        """Send *data* to every client now, whatever it is."""

        def write() -> None:
            for connection in self._loop.connections.values():
                connection.write(data)
                self._loop.touch(connection)

        self._loop.call(write)

    def clear(self) -> None:
        """End all faults: cancel what was ordered, thaw, listen again, keep idle connections.

        Connections that dribble or were never answered stay as they are.
        """
        self._rules.clear()
        self._loop.call(self._end_lasting_faults)

    # -- in the loop's thread ---------------------------------------------------------------------------------

    def _end_lasting_faults(self) -> None:
        self._thaw_all()
        self._set_idle_timeout(None)
        if self._loop.running:
            self._loop.listen_again()

    def _freeze_all(self) -> None:
        self._rules.frozen = True
        for connection in self._loop.connections.values():
            connection.frozen = True
            self._loop.touch(connection)

    def _thaw_all(self) -> None:
        self._rules.frozen = False
        for connection in self._loop.connections.values():
            if connection.frozen:
                connection.thaw()
                self._loop.touch(connection)

    def _set_idle_timeout(self, seconds: float | None) -> None:
        self._rules.idle_timeout = seconds
        for connection in self._loop.connections.values():
            connection.idle_timeout = seconds
            self._loop.touch(connection)

    def _add(self, fault: Fault) -> Fault:
        return self._rules.add(fault)
