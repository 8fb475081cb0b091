"""SIGTERM and Ctrl-C: the first asks the worker to stop, a later one ends it at once.

One press of Ctrl-C often arrives as two signals: the terminal sends SIGINT to every process of its group, and a wrapper
(npm, docker, uv, a shell script, a supervisor) forwards its own, perhaps as SIGTERM. So signals that come within half a
second of the first are the same request.
"""

from __future__ import annotations

import signal
import threading
import time
import types
import typing

if typing.TYPE_CHECKING:
    from typing import Self

__all__ = ["ONE_REQUEST", "StopSignals"]

#: Seconds after the first signal in which others, of either kind, count as the same request.
ONE_REQUEST: typing.Final = 0.5


class StopSignals:
    """While the block runs, the first SIGTERM or SIGINT calls *ask*; a later one raises as Python does for Ctrl-C.

    Those within `ONE_REQUEST` seconds of the first do nothing. The exception of a later one is `KeyboardInterrupt`, or
    `SystemExit` with the code that a shell gives for SIGTERM. *clock* returns seconds, as `time.monotonic` does.

    Signals belong to the main thread; in another one this does nothing.
    """

    def __init__(self, ask: typing.Callable[[], object], clock: typing.Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._asked: float | None = None  # when
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
            # The second half of one request must not end the program while it does what comes after the worker.
            signal.signal(number, self._after if self._in_one_request() else handler)

    def _in_one_request(self) -> bool:
        return self._asked is not None and self._clock() - self._asked < ONE_REQUEST

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        if self._asked is None:
            self._asked = self._clock()
            self._ask()
        elif not self._in_one_request():
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)

    def _after(self, number: int, frame: types.FrameType | None) -> None:
        """A signal after the block: the handler from before the block gets it, unless it is of the same request."""
        if not self._in_one_request():
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
