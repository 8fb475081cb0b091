"""The hands: threads that take messages out of the inbox, one at a time each, and see them to their end."""

from __future__ import annotations

import threading
import typing

from .._internal.log import get_logger, report_logging_error
from .._internal.printable import sentence
from ..errors import ConfigurationError
from .describe import error_in_one_line, traceback_text
from .inbox import Delivery, Inbox, Step
from .perform import Failure, Job, Performer, PerformerGone
from .settle import Settlement
from .stats import Counts

__all__ = ["Hand"]

_log = get_logger("worker")

_RESTART_PAUSE = 1.0  # seconds; doubled after each process that could not be started
_LONGEST_RESTART_PAUSE = 30.0
_LOOK_AFTER_THE_PROCESS = 0.5  # seconds between two looks at an idle one


class Hand:
    """One thread, and the performer that it uses.

    * `thread` - the thread, a daemon: a handler that does not end cannot keep the program from ending.
    * `started` - set once it can take messages, or cannot: then `broken` says why.
    * `busy` - a handler runs.
    * `ended` - it takes no more messages, and has none.
    """

    def __init__(
        self,
        number: int,
        inbox: Inbox,
        performer: Performer,
        settlement: Settlement,
        counts: Counts,
        numbers: typing.Mapping[str, int],
        on_change: typing.Callable[[], object],
    ) -> None:
        self._inbox = inbox
        self._performer = performer
        self._settlement = settlement
        self._counts = counts
        self._numbers = numbers  # of the handlers, by the id of their subscription
        self._on_change = on_change
        self._ending = threading.Event()
        self._abandoned = False
        self.started = threading.Event()
        self.busy = self.ended = False
        self.broken: ConfigurationError | None = None
        self.thread = threading.Thread(target=self._run, name=f"stomp-worker-{number}", daemon=True)

    @property
    def able(self) -> bool:
        """Whether it can handle a message now or as soon as it is done with one."""
        return self.thread.is_alive() and not self.ended and self._performer.ready()

    @property
    def performer(self) -> Performer:
        """Who calls the handlers."""
        return self._performer

    def end(self) -> None:
        """Do not wait for a process that cannot be started. The inbox says when there is nothing more to take."""
        self._ending.set()

    def abandon(self) -> None:
        """Stop at once what can be stopped; whatever its handler does now, nothing is said of its message."""
        self._abandoned = True
        self._ending.set()
        self._performer.kill()

    # -- in the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        self.broken = self._start()
        self.started.set()
        self._on_change()
        try:
            while self._make_ready() and not self._inbox.finished:
                work = self._inbox.take(_LOOK_AFTER_THE_PROCESS if self._performer.perishable else None)
                if work is not None:
                    self._do(*work)
        except BaseException:
            _log.critical("a hand of the worker has failed, and takes no more messages", exc_info=True)
            raise
        finally:
            self._performer.stop()
            self.ended = True
            self._on_change()

    def _start(self) -> ConfigurationError | None:
        """Let the performer make ready; return why it cannot."""
        try:
            self._performer.start()
        except ConfigurationError as error:
            return error
        except BaseException as error:  # noqa: BLE001 - the operating system's, mostly: no more processes, no memory
            return ConfigurationError(f"a worker process cannot be started: {error_in_one_line(error)}", "processes")
        return None

    def _make_ready(self) -> bool:
        """Replace a process that has died. ``False`` if there is none and none can be had before the end."""
        pause = _RESTART_PAUSE
        while not self._performer.ready():
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
            if step is Step.GIVE_BACK:
                self._settlement.give_back(delivery)
            elif step is Step.BURY:
                self._settlement.bury(delivery)
            elif self._settlement.admit(delivery):
                self._handle(delivery)
        except BaseException as error:  # noqa: BLE001
            # Not of the handler, whose exceptions end in `_perform`: a fault of ours, or an exception that other code
            # has raised in this thread. It costs neither the thread nor the message.
            if not self._abandoned:
                self._went_wrong(delivery, error)

    def _went_wrong(self, delivery: Delivery, error: BaseException) -> None:
        try:
            self._settlement.went_wrong(delivery, error)
        except BaseException:  # noqa: BLE001 - of its last step, the log: a handler there raises SystemExit, for example
            report_logging_error()

    def _perform(self, job: Job) -> Failure | None:
        """Call the handler. A process that had died before it took the message is replaced first."""
        while True:
            if not self._make_ready():
                raise PerformerGone
            try:
                return self._performer.perform(job)
            except PerformerGone:
                continue
            except BaseException as error:  # noqa: BLE001 - raised in this thread by other code, after the handler
                return Failure(error_in_one_line(error), details=traceback_text(error, frozenset()))

    def _handle(self, delivery: Delivery) -> None:
        self._counts.add(in_flight=1)
        self.busy = True
        try:
            frame = delivery.frame
            number = self._numbers[delivery.handler.id]
            job = Job(number, frame.headers, frame.body, delivery.redelivered, delivery.failures, frame.defects)
            try:
                failure = self._perform(job)
            except PerformerGone:  # at the end, and the message was not begun: it goes back
                return
            if self._abandoned:
                return
            if failure is None:
                self._settlement.succeeded(delivery)
            else:
                self._settlement.failed(delivery, failure)
        finally:
            self.busy = False
            self._counts.add(in_flight=-1)
            self._on_change()
