"""Handlers of SIGINT (Ctrl-C) and SIGTERM. In Python, only the main thread can set handlers.

In any other thread, the context managers of this module set no handlers.

One press of Ctrl-C often causes two signals. The terminal sends SIGINT to every process of its group. A wrapper such as
npm, docker, uv or a supervisor then also sends SIGINT or SIGTERM to the program. So signals within half a second count
as one request to stop.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import types
import typing

if typing.TYPE_CHECKING:
    from typing import Self

__all__ = [
    "ONE_REQUEST",
    "StopSignals",
    "block_stop_signals",
    "call_on_ctrl_c",
    "ignore_stop_signals",
    "sigterm_as_ctrl_c",
]

#: A SIGINT or SIGTERM within this many seconds after the first signal counts as the same request.
ONE_REQUEST: typing.Final = 0.5

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """A ``with`` block in which the first SIGTERM or SIGINT sets `asked` and calls *ask*.

    Within `ONE_REQUEST` seconds after the first signal, further signals do nothing. After this time, SIGINT raises
    `KeyboardInterrupt`, and SIGTERM raises `SystemExit` with the shell's exit status for SIGTERM, 143. *clock* returns
    seconds, like `time.monotonic`.
    """

    def __init__(
        self, ask: typing.Callable[[], object] | None = None, clock: typing.Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._asked_at: float | None = None
        self._before: dict[int, typing.Any] = {}

    @property
    def asked(self) -> bool:
        """Whether SIGINT or SIGTERM has arrived."""
        return self._asked_at is not None

    def __enter__(self) -> Self:
        if _in_main_thread():
            for number in _STOP_SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # A second signal of the same request must not end the program after the block.
            signal.signal(number, self._after if self._in_one_request() else handler)

    def _in_one_request(self) -> bool:
        return self._asked_at is not None and self._clock() - self._asked_at < ONE_REQUEST

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = self._clock()
            if self._ask is not None:
                self._ask()
        elif not self._in_one_request():
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)

    def _after(self, number: int, frame: types.FrameType | None) -> None:
        """Handle a signal that arrives after the end of the ``with`` block.

        Ignore the signal if it arrives less than `ONE_REQUEST` seconds after the first signal. Otherwise, restore the
        handler that was set before the block, and raise the signal again.
        """
        if not self._in_one_request():
            signal.signal(number, self._before[number])
            signal.raise_signal(number)


def sigterm_as_ctrl_c() -> typing.ContextManager[None]:
    """Return a context manager. In its ``with`` block, SIGTERM raises `KeyboardInterrupt` like Ctrl-C."""
    return _handled((signal.SIGTERM,), signal.default_int_handler)


def call_on_ctrl_c(function: typing.Callable[[], object]) -> typing.ContextManager[None]:
    """Return a context manager. In its ``with`` block, SIGINT and SIGTERM call *function*.

    *function* replaces only the handler `signal.default_int_handler`. This handler raises `KeyboardInterrupt`, and is
    Python's default for SIGINT. If a signal has any other handler, this handler stays. Outside the main thread, no
    handler is replaced.
    """
    numbers = [number for number in _STOP_SIGNALS if signal.getsignal(number) is signal.default_int_handler]
    return _handled(numbers, lambda *_: function())


@contextlib.contextmanager
def _handled(numbers: typing.Iterable[int], handler: typing.Callable[..., object]) -> typing.Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers} if _in_main_thread() else {}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextlib.contextmanager
def block_stop_signals() -> typing.Iterator[None]:
    """Block SIGINT and SIGTERM while the caller starts a child process.

    The child process must then call `ignore_stop_signals`, which unblocks the signals in the child.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_stop_signals() -> None:
    """Ignore SIGINT and SIGTERM in a child process, because the parent ends the child.

    For example, a terminal sends SIGINT to the whole process group, and so also to the child.

    The handler is an empty function and not ``SIG_IGN``. Programs that the child starts would inherit ``SIG_IGN``.
    """
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
