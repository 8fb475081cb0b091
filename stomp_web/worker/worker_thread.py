"""A worker thread takes messages from the inbox, and passes them to the executor and the acknowledger."""

from __future__ import annotations

import math
import threading
import time

from .._internal.log import get_logger, report_logging_error
from .._internal.printable import sentence
from .._internal.wakeup import Wakeup
from ..errors import ConfigurationError
from .acknowledger import Acknowledger
from .delivery import Delivery, Step
from .error_text import error_in_one_line, traceback_text
from .executors import Executor, ExecutorGone, Failure, Job
from .inbox import Inbox

__all__ = ["WorkerThread"]

_log = get_logger("worker")

_RESTART_PAUSE = 1.0  # seconds; doubled each time that a process cannot be started
_LONGEST_RESTART_PAUSE = 30.0
_CHECK_INTERVAL = 0.5  # seconds between two checks whether an idle process is alive


class WorkerThread:
    """A thread and its executor. *wakeup* wakes the supervisor.

    * `started` - whether the thread has tried to start its executor. If the start failed, `broken` is the error.
    * `busy` - whether a handler has a message now.
    * `ended` - whether the thread has no message and takes no more messages.
    """

    def __init__(
        self, number: int, inbox: Inbox, executor: Executor, acknowledger: Acknowledger, wakeup: Wakeup
    ) -> None:
        self._inbox = inbox
        self._executor = executor
        self._acknowledger = acknowledger
        self._wakeup = wakeup
        self._ending = threading.Event()
        self._abandoned = False
        self.started = self.busy = self.ended = False
        self.broken: ConfigurationError | None = None
        # A daemon thread: the program can end although a handler does not end.
        self._thread = threading.Thread(target=self._run, name=f"stomp-worker-{number}", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread can handle a message, now or after its current message."""
        return self._thread.is_alive() and not self.ended and self._executor.is_ready()

    def start(self) -> None:
        """Start the thread. The thread then starts its executor."""
        self._thread.start()

    def end(self) -> None:
        """Make no more attempts to start a process. The thread ends when `Inbox.finished` is true."""
        self._ending.set()

    def abandon(self) -> None:
        """Kill the process of the handlers, if there is one. Let the thread start no new process.

        If a handler is processing a message now, the thread does not acknowledge this message later.
        """
        self._abandoned = True
        self._ending.set()
        self._executor.kill()

    def join(self, timeout: float) -> None:
        """Kill the process of the handlers, if there is one. Then wait up to *timeout* seconds for the thread.

        If a handler runs in the thread, do not wait.
        """
        if self._executor.kill() or not self.busy:
            self._thread.join(timeout)

    def _run(self) -> None:
        self.broken = self._start()
        self.started = True
        self._wakeup.wake()
        try:
            while self._make_ready() and not self._inbox.finished:
                work = self._inbox.take(_CHECK_INTERVAL if self._executor.can_die else math.inf)
                if work is not None:
                    self._do(*work)
        except BaseException:
            _log.critical("a thread of the worker has failed, and takes no more messages", exc_info=True)
            raise
        finally:
            self._executor.stop()
            self.ended = True
            self._wakeup.wake()

    def _start(self) -> ConfigurationError | None:
        try:
            self._executor.start()
        except ConfigurationError as error:
            return error
        except BaseException as error:  # noqa: BLE001 - mostly from the operating system: no more processes, no memory
            return ConfigurationError(f"a worker process cannot be started: {error_in_one_line(error)}", "processes")
        return None

    def _make_ready(self) -> bool:
        """Replace a process that has died. Return false if the worker ends before a process could be started."""
        pause = _RESTART_PAUSE
        while not self._executor.is_ready():
            if self.broken is not None or self._ending.is_set():
                return False
            problem = self._start()
            if problem is not None:
                _log.error("%s The next try is in %g s", sentence(problem), pause)
                self._ending.wait(pause)
                pause = min(pause * 2, _LONGEST_RESTART_PAUSE)
        return True

    def _do(self, step: Step, delivery: Delivery) -> None:
        try:
            if step is Step.REQUEUE:
                self._acknowledger.requeue(delivery)
            elif step is Step.DEAD_LETTER:
                self._acknowledger.dead_letter(delivery)
            elif self._acknowledger.admit(delivery):
                self._handle(delivery)
        except BaseException as error:  # noqa: BLE001
            # `_execute` catches the handler's exceptions. This exception is a bug of the worker, or other code raised
            # it in this thread. The thread goes on, and the message is tried again.
            if self._abandoned:
                return
            try:
                self._acknowledger.interrupted(delivery, error)
            except BaseException:  # noqa: BLE001 - from logging, its last step: a log handler may raise SystemExit
                report_logging_error()

    def _handle(self, delivery: Delivery) -> None:
        self.busy = True
        frame, identity = delivery.frame, delivery.handler.id
        key = "" if delivery.key is None else delivery.key[1]
        more = (delivery.redelivered, delivery.failures, frame.defects, key, self._acknowledger.events.server)
        job = Job(identity, frame.headers, frame.body, *more)
        try:
            began = time.monotonic() if self._acknowledger.events else 0.0
            failure = self._execute(job)
            if began:
                delivery.seconds = time.monotonic() - began
            if self._abandoned:
                return
            if failure is None:
                self._acknowledger.succeeded(delivery)
            else:
                self._acknowledger.failed(delivery, failure)
        except ExecutorGone:
            return  # no process could be started before the worker ended: the broker delivers the message again
        finally:
            self.busy = False
            self._wakeup.wake()

    def _execute(self, job: Job) -> Failure | None:
        """Call the handler. If the process died before it took the message, replace the process and try again."""
        while self._make_ready():
            try:
                return self._executor.execute(job)
            except ExecutorGone:
                continue
            except BaseException as error:  # noqa: BLE001 - other code raised it in this thread, after the handler
                return Failure(error_in_one_line(error), traceback_text(error))
        raise ExecutorGone
