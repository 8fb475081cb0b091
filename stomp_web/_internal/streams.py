"""Safe use of a command's standard streams. A stream may be closed, full, or a pipe without a reader.

The exit status of a command tells the outcome of its messages. So a failure to print must not end the command.
"""

from __future__ import annotations

import contextlib
import errno
import os
import typing

__all__ = ["TolerantStream", "keep_descriptors", "settle", "try_to_print"]


def keep_descriptors() -> None:
    """If descriptor 0, 1 or 2 is closed, open the null device as this descriptor.

    The stream of this descriptor in `sys` stays ``None``. Without this function, the next socket could get
    descriptor 2, and a C library could write errors to the broker.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(opened, number)
                os.close(opened)


def try_to_print(stream: typing.TextIO | None, text: str) -> OSError | None:
    """Write *text* and a line end, and flush *stream*. Return the error if this fails, and otherwise ``None``.

    If *stream* is ``None``, return the error of a closed stream.
    """
    printer = TolerantStream(stream)
    printer.write(text + "\n")
    printer.flush()
    if printer.failure is not None:
        settle(stream)
    return printer.failure


def _closed() -> OSError:
    return OSError(errno.EBADF, "it is closed")


def _write(stream: typing.TextIO, text: str) -> None:
    """Write *text*, with escapes for the characters that *stream* cannot encode."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def settle(*streams: typing.TextIO | None) -> bool:
    """Flush *streams* before the program ends. Return whether all output was written.

    Output that cannot be written goes to the null device. If this output stayed in the buffer, Python would try to
    write the output again at exit, fail, and exit with status 120.
    """
    whole = True
    for stream in streams:
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            whole = False
            with contextlib.suppress(OSError, ValueError):
                descriptor, null = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, descriptor)
                os.close(null)
                stream.flush()
    return whole


class TolerantStream:
    """A text stream that wraps *stream*. Writing never fails: output that cannot be written is dropped.

    After an error, the stream still tries to write all further output. `failure` is the latest error. *on_failure* is
    called with the first error.
    """

    def __init__(
        self, stream: typing.TextIO | None, on_failure: typing.Callable[[OSError], object] | None = None
    ) -> None:
        self._stream = stream
        self._on_failure = on_failure
        self.failure: OSError | None = _closed() if stream is None else None

    def write(self, text: str) -> int:
        self._attempt(lambda stream: _write(stream, text))
        return len(text)

    def flush(self) -> None:
        self._attempt(lambda stream: stream.flush())

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """Return the descriptor. Raises `OSError` if the stream has no descriptor."""
        if self._stream is None:
            raise _closed()
        return self._stream.fileno()

    def _attempt(self, step: typing.Callable[[typing.TextIO], object]) -> None:
        if self._stream is None:
            return
        try:
            step(self._stream)
        except (OSError, ValueError) as error:  # ValueError: the program has closed the stream
            first, self.failure = self.failure is None, error if isinstance(error, OSError) else _closed()
            if first and self._on_failure is not None:
                self._on_failure(self.failure)

    def __getattr__(self, name: str) -> typing.Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)
