"""SIGTERM and Ctrl-C: the first asks the worker to stop, a second one ends it at once."""

from __future__ import annotations

import signal
import threading
import types
import typing

if typing.TYPE_CHECKING:
    from typing import Self

__all__ = ["StopSignals"]


class StopSignals:
    """While the block runs, the first SIGTERM or SIGINT calls *ask*; a second one raises as Python does for Ctrl-C.

    The second one's exception is `KeyboardInterrupt`, or `SystemExit` with the code that a shell gives for SIGTERM.
    Signals belong to the main thread; in another one this does nothing.
    """

    def __init__(self, ask: typing.Callable[[], object]) -> None:
        self._ask = ask
        self._asked = False
        self._before: dict[int, typing.Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        if self._asked:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)
        self._asked = True
        self._ask()
