"""Calling handlers in a process of one's own, which may die without harm to the worker.

A process is started anew, not forked: the program has threads, and a fork would copy locks that they hold. So a handler
must be importable there. What goes through the pipe is pickled, and both of its ends are ours.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import time
import types
import typing

from ..errors import ConfigurationError
from .describe import error_in_one_line
from .forked import exit_forked_child
from .handlers import Handler
from .perform import Around, Failure, Job, PerformerGone, ThreadPerformer

if typing.TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Initializer", "ProcessPerformer"]

Initializer = typing.Callable[[], object]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds that a new process may take to import the handlers.
_START_LIMIT = 60.0
# Seconds for a process to end by itself when it was asked to.
_END_LIMIT = 5.0
_LOOK_AFTER_IT = 1.0  # seconds between two looks whether it lives


class ProcessPerformer:
    """Calls handlers in a process that it owns, one message at a time. A process that dies is replaced.

    *initializer* is called first in each process, before the handlers are imported.
    """

    perishable = True

    def __init__(
        self,
        handlers: typing.Iterable[Handler],
        keys: typing.Sequence[str | bytes],
        around: Around,
        initializer: Initializer | None,
        number: int,
        untyped: str = "bytes",
    ) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            # multiprocessing's own mark of a process that is still importing the program that it was started from.
            raise ConfigurationError(
                "run() was called while a worker process imports the program; put the call under "
                '`if __name__ == "__main__":`',
                "processes",
            )
        self._name = f"stomp-worker-process-{number}"
        self._first = _pickled(initializer, "the initializer")
        each = [
            (_pickled(handler.function, f"the handler {handler.name}"), handler.reading(untyped))
            for handler in handlers
        ]
        self._second = _pickled((each, tuple(keys), _pickled(around, "around")), "what a process needs")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._killed = False

    @property
    def pid(self) -> int | None:
        """The process's id, ``None`` while there is none."""
        process = self._process
        return process.pid if process is not None else None

    def start(self) -> None:
        """Start the process, and wait until it has imported the handlers. Raises `ConfigurationError`."""
        if self._killed:
            raise ConfigurationError("the worker is ending", "processes")
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_child, args=(theirs, self._first, self._second), name=self._name)
        try:
            # Not under the lock: multiprocessing logs, and its log handlers are the application's.
            with _signals_held_back():
                process.start()
        finally:
            theirs.close()
        self._connection = ours
        with self._lock:
            self._process = process
            killed = self._killed
        if killed:  # meanwhile
            self._let_go()
            raise ConfigurationError("the worker is ending", "processes")
        try:
            answer = ours.recv() if ours.poll(_START_LIMIT) else f"it was not ready within {_START_LIMIT:g} s"
        except (EOFError, OSError):
            _wait_for_end(process)
            answer = f"it ended with exit code {process.exitcode}"
        if answer is not None:
            self._let_go()
            raise ConfigurationError(f"a worker process cannot run the handlers: {answer}", "processes")

    def perform(self, job: Job) -> Failure | None:
        """Let the process do it. If the process dies of it, that is the failure. Raises `PerformerGone`."""
        connection, process = self._connection, self._process
        try:
            if connection is None or process is None:
                raise EOFError
            connection.send(job)
        except (EOFError, OSError):
            self._let_go()
            raise PerformerGone from None
        try:
            # A process of the handler's own may hold the other end of the pipe, so its end is not all to look for.
            while not connection.poll(_LOOK_AFTER_IT):
                if not process.is_alive() and not connection.poll():
                    raise EOFError
            return typing.cast("Failure | None", connection.recv())
        except (EOFError, OSError):
            _wait_for_end(process)
            how = _how_it_ended(process.exitcode)
            self._let_go()
            return Failure(f"the worker process died{how} while it handled the message")
        except Exception as error:  # noqa: BLE001 - unpickling raises whatever the bytes make it raise
            self._let_go()  # what else stands in the pipe cannot be trusted
            return Failure(
                f"the worker process was ended, as its answer could not be read ({error_in_one_line(error)}); does "
                "the handler write to file descriptors that it has not opened?"
            )

    def ready(self) -> bool:
        """Whether the process is there."""
        process = self._process
        return process is not None and self._connection is not None and process.is_alive()

    def stop(self) -> None:
        """Tell the process that nothing more comes, and wait for its end."""
        with self._lock:
            self._killed = True  # no other is started
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        process = self._process
        if process is not None:
            _wait_for_end(process)
        self._let_go()

    def kill(self) -> bool:
        """End the process at once; no other is started."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()
        return True

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            if process.is_alive():
                process.kill()
            if _wait_for_end(process):
                process.close()


def _wait_for_end(process: multiprocessing.process.BaseProcess) -> bool:
    """Wait until *process* has ended, for `_END_LIMIT` seconds at the most; return whether it has.

    `Process.join` waits without a limit for one that has closed its descriptors, as a handler may: it sees the end of a
    pipe that the process holds, and then asks the system to wait.
    """
    end = time.monotonic() + _END_LIMIT
    multiprocessing.connection.wait([process.sentinel], _END_LIMIT)
    while process.is_alive():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return ""
    if code >= 0:
        return f" with exit code {code}"
    try:
        return f" of {signal.Signals(-code).name}"
    except ValueError:
        return f" of signal {-code}"


def _pickled(what: object, name: str) -> bytes:
    try:
        return pickle.dumps(what)
    except Exception as error:  # noqa: BLE001 - pickle raises whatever the object's own code does
        raise ConfigurationError(
            f"{name} cannot be used in another process: {error}. Define it at the top level of a module, "
            "or use threads (processes=0)",
            "processes",
        ) from None


@contextlib.contextmanager
def _signals_held_back() -> typing.Iterator[None]:
    """A process that is started meanwhile gets no signal before it says so: it would die of Ctrl-C, loudly."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _child(connection: Connection, first: bytes, second: bytes) -> None:
    """What runs in the process: import, say so, then a message in and its outcome out, until the pipe is closed."""
    # Ctrl-C and a service manager's SIGTERM reach all processes of the group. When this one ends is its parent's to
    # say, who closes the pipe, and whose death closes it, too.
    for number in _SIGNALS:
        signal.signal(number, _leave_it_to_the_parent)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    with contextlib.closing(connection):
        process = os.getpid()
        problem = None
        try:
            performer = _unpickled(first, second)
        except BaseException as error:
            if os.getpid() == process:
                connection.send(error_in_one_line(error))
                raise
            problem = error
        if os.getpid() != process:  # forked by the initializer, or while the handlers were imported
            exit_forked_child(problem)
        connection.send(None)
        with contextlib.suppress(EOFError, OSError):
            while True:
                job = connection.recv()
                connection.send(performer.perform(job))


def _unpickled(first: bytes, second: bytes) -> ThreadPerformer:
    initializer = pickle.loads(first)
    if initializer is not None:
        initializer()
    each, keys, around = pickle.loads(second)
    handlers = [(pickle.loads(function), reading) for function, reading in each]
    return ThreadPerformer(handlers, keys, pickle.loads(around))


def _leave_it_to_the_parent(_number: int, _frame: types.FrameType | None) -> None:
    pass
