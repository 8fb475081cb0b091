"""Calls handlers in another process. If that process dies, the worker goes on.

The process is a new interpreter, which imports the handlers. The process is not forked, because a fork would copy locks
that the program's threads hold.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import threading
import time
import typing
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from .._internal.signals import block_stop_signals, ignore_stop_signals
from ..errors import ConfigurationError
from ..serializers.base import Keys
from .error_text import error_in_one_line
from .executors import Around, Executor, ExecutorGone, Failure, ForkGuard, Job, ThreadExecutor, Trace
from .handlers import Handler
from .once import OnceInbox

__all__ = ["Initializer", "ProcessExecutor"]

Initializer = typing.Callable[[], object]

_START_LIMIT = 60.0  # seconds that a new process may take to import the handlers
_END_LIMIT = 5.0  # seconds in which a process must end after it was asked to
_CHECK_INTERVAL = 1.0  # seconds between two checks whether the process is alive


class ProcessExecutor(Executor):
    """Calls handlers in a process, one message at a time. If the process dies, a new process replaces it.

    The process calls the *initializers* before it imports the handlers.
    """

    can_die = True

    def __init__(
        self,
        handlers: typing.Sequence[Handler],
        keys: Keys,
        around: Around,
        initializers: typing.Sequence[Initializer],
        number: int,
        inbox: OnceInbox | typing.Callable[[], OnceInbox] | None = None,
        trace: Trace | None = None,
    ) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            # multiprocessing sets this mark in a process while the process imports the program's main module.
            raise ConfigurationError(
                "run() was called while a worker process imports the program; put the call under "
                '`if __name__ == "__main__":`',
                "processes",
            )
        self._name = f"stomp-worker-process-{number}"
        self._initializers = _pickled(initializers, "the initializer")
        for handler in handlers:
            _pickled(handler.function, f"the handler {handler.name}")  # for an error that names the handler
        _pickled(around, "around")
        _pickled(inbox, "the inbox (hand over a function that makes it)")
        self._setup = _pickled((handlers, keys, around, inbox, trace), "the worker")
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._imported = False  # whether the process has imported the handlers
        self._lock = threading.Lock()
        self._killed = False

    def start(self) -> None:
        """Start the process and wait until it has imported the handlers. Raises `ConfigurationError` if this fails."""
        self._discard()  # a process that has died without a message
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_run_process, args=(theirs, self._initializers, self._setup), name=self._name)
        try:
            # Not under the lock: multiprocessing logs, and a log handler of the application may run any code.
            with block_stop_signals():
                process.start()
        finally:
            theirs.close()
        self._connection = ours
        with self._lock:
            self._process, killed = process, self._killed
        answer: object = "the worker is ending"
        try:
            if not killed:
                answer = ours.recv() if ours.poll(_START_LIMIT) else f"it was not ready within {_START_LIMIT:g} s"
        except (EOFError, OSError):
            _wait_for_exit(process)
            answer = f"it ended with exit code {process.exitcode}"
        if answer is not None:
            self._discard()
            raise ConfigurationError(f"a worker process cannot run the handlers: {answer}", "processes")
        self._imported = True

    def execute(self, job: Job) -> Failure | None:
        """Call the handler. If the process dies, return a failure. If *job* cannot be sent, raise `ExecutorGone`."""
        connection, process = self._connection, self._process
        if connection is None or process is None:
            raise ExecutorGone
        sent = False
        try:
            connection.send(job)
            sent = True
            # A child of the process may keep the other end of the pipe open after the process has died.
            while not connection.poll(_CHECK_INTERVAL):
                if not process.is_alive() and not connection.poll():
                    raise EOFError
            return typing.cast("Failure | None", connection.recv())
        except (EOFError, OSError):
            _wait_for_exit(process)
            how = _exit_reason(process.exitcode)
            self._discard()
            if not sent:
                raise ExecutorGone from None
            return Failure(f"the worker process died{how} while it handled the message")
        except BaseException as error:  # noqa: BLE001 - unpickling failed, or other code raised it in this thread
            self._discard()  # otherwise the rest of the pipe's content would be read as the next answer
            return Failure(
                f"the worker process was ended, as its answer could not be read ({error_in_one_line(error)}); does "
                "the handler write to file descriptors that it has not opened?"
            )

    def is_ready(self) -> bool:
        """Return whether the process is alive and has imported the handlers."""
        process = self._process
        try:
            return self._imported and process is not None and self._connection is not None and process.is_alive()
        except ValueError:  # the worker thread has closed it meanwhile, and this is another thread
            return False

    def stop(self) -> None:
        """Close the pipe, so that the process ends. Wait until the process has ended."""
        with self._lock:
            self._killed = True  # no other process is started
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            _wait_for_exit(self._process)
        self._discard()

    def kill(self) -> bool:
        """End the process at once, which also ends a running `execute`. Return true.

        If `start` is called later, it ends the new process at once, and raises `ConfigurationError`.
        """
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()
        return True

    def _discard(self) -> None:
        self._imported = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            if process.is_alive():
                process.kill()
            if _wait_for_exit(process):
                process.close()


def _wait_for_exit(process: BaseProcess) -> bool:
    """Wait at most `_END_LIMIT` seconds for the end of *process*. Return whether *process* has ended."""
    end = time.monotonic() + _END_LIMIT
    # `Process.join` could wait forever, because a handler may have closed the file descriptors of the process.
    wait([process.sentinel], _END_LIMIT)
    while process.is_alive():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _exit_reason(code: int | None) -> str:
    if code is None:
        return ""
    if code >= 0:
        return f" with exit code {code}"
    names = {each.value: each.name for each in signal.Signals}
    return f" of {names.get(-code, f'signal {-code}')}"


def _pickled(value: object, name: str) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:  # noqa: BLE001 - pickle raises whatever the object's own code raises
        raise ConfigurationError(
            f"{name} cannot be used in another process: {error}. Define it at the top level of a module, "
            "or use threads (processes=0)",
            "processes",
        ) from None


def _run_process(connection: Connection, initializers: bytes, setup: bytes) -> None:
    """Import the handlers. Then execute jobs until the parent closes the pipe or dies.

    After the import, send ``None`` to the parent. If the process cannot run the handlers, send the text of the error.
    """
    ignore_stop_signals()
    with contextlib.closing(connection):
        try:
            with ForkGuard():  # for a child that the initializer or the import of the handlers forks
                for initializer in pickle.loads(initializers):
                    initializer()
                handlers, keys, around, inbox, trace = pickle.loads(setup)
                executor = ThreadExecutor(handlers, keys, around, inbox() if callable(inbox) else inbox, trace)
                try:
                    executor.check_inbox()
                except ConfigurationError as error:
                    connection.send(str(error))
                    return
        except BaseException as error:
            connection.send(error_in_one_line(error))
            raise
        connection.send(None)
        with contextlib.suppress(EOFError, OSError):
            while True:
                job = connection.recv()
                connection.send(executor.execute(job))
