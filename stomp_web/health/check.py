"""`HealthCheck` checks whether the brokers of a web application answer. Simultaneous probes cause only one check."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
import typing

from .._internal.log import get_logger
from .._internal.per_process import PerProcess, Unpicklable
from ..config import seconds
from ..errors import ConfigurationError
from ..pool import Health
from .report import Report

__all__ = ["HealthCheck"]

_log = get_logger("health")

Check = typing.Callable[[float], "Health | None"]


class HealthCheck(Unpicklable):
    """Checks whether brokers answer, and keeps the result for a moment. Thread-safe and fork-safe.

    * *checks* - one function for each broker, such as the method `Publisher.check`. A function takes the timeout in
      seconds, and returns a `Health`, or ``None`` if there is nothing to check.
    * *timeout* - how many seconds each broker has to answer. Default 2.
    * *max_age* - for how many seconds the result is kept. Default 1. Therefore, each process asks a broker at most once
      in *max_age* seconds, no matter how many probes come.
    * *details* - whether the report contains the brokers' addresses, product names and errors. Default false, because
      strangers may be able to read the answers of a web application.

    A call returns a `Report`. Only one caller at a time asks the brokers, with a time limit of *timeout* times the
    number of *checks*. Meanwhile, other callers get the last report if it is younger than *max_age* plus the time
    limit. Otherwise, they wait for the new report. If the time limit is reached, they get a report that is not ready.
    If no name server answers, the caller that asks the brokers may wait longer than the time limit, because Python
    cannot interrupt the look-up of a host name. The logger ``stomp_web.health`` gets a record when the report becomes
    not ready, and when it becomes ready again.

    Raises `ConfigurationError` for a bad option. A call raises the exceptions of *checks*.

    >>> from stomp_web import Publisher
    >>> check = HealthCheck(Publisher("memory://").check)
    >>> check().ready
    True
    """

    def __init__(self, *checks: Check, timeout: float = 2.0, max_age: float = 1.0, details: bool = False) -> None:
        if not checks:
            raise ConfigurationError("give HealthCheck a function for each broker, such as publisher.check", "checks")
        self._checks = checks
        self._timeout = seconds("timeout", timeout)
        self._max_age = seconds("max_age", max_age)
        self._details = details
        self._limit = self._timeout * len(checks)
        self._states = PerProcess(_State)

    def __call__(self) -> Report:
        """Return a report. `HealthCheck` describes how old the report may be."""
        state = self._states[os.getpid()]
        known = state.kept(self._max_age)
        if known is not None:
            return known
        mine = _Round()
        current = state.rounds.setdefault("current", mine)  # atomic: one of several callers gets its own round back
        if current is not mine:
            return state.kept(self._max_age + self._limit) or current.result(self._limit)
        try:
            report = state.kept(self._max_age)  # another caller may have ended its round since the look above
            if report is None:
                report = self._ask(state)
            mine.report = report
            return report
        finally:
            del state.rounds["current"]
            mine.done.set()

    def _ask(self, state: _State) -> Report:
        results = []
        for number, check in enumerate(self._checks):
            if (result := check(self._timeout)) is not None:
                if result.asked:
                    state.answers[number] = result
                results.append(state.answers.get(number, result))
        failed = [result for result in results if not result]
        reason = _reason(failed, len(results)) if failed else ""
        details = {"brokers": [_members(result) for result in results]} if self._details else {}
        report = Report(ready=not failed, reason=reason, details=details)
        before, state.last = state.last, (time.monotonic(), report)
        if failed and (before is None or before[1].ready):
            _log.warning("not ready: %s", "; ".join(str(result) for result in failed))
        elif not failed and before is not None and not before[1].ready:
            _log.info("ready again: %s", "; ".join(str(result) for result in results))
        return report


def _reason(failed: list[Health], brokers: int) -> str:
    away = sum(result.asked for result in failed)
    if not away:
        return "all connections are in use, so the broker could not be asked; the log has the error"
    count = f"{away} of {brokers} brokers do" if brokers > 1 else "the broker does"
    return f"{count} not answer, or refused the session; the log has the error"


class _Round:
    """One run of all checks, made by one caller. Other callers can wait for the end of the round."""

    __slots__ = ("began", "done", "report")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.done = threading.Event()
        self.report: Report | None = None

    def result(self, limit: float) -> Report:
        ended = self.done.wait(max(self.began + limit - time.monotonic(), 0.0))
        if self.report is not None:
            return self.report
        failed = "the check has failed; the log has the error"
        return Report(ready=False, reason=failed if ended else f"the check has no result after {limit:g} s")


class _State:
    """The state of a `HealthCheck` in one process.

    `last` is the last report with its time. `answers` maps the index of a check to the last `Health` of this check in
    which `Health.asked` is true. `rounds` has the current `_Round`, if any.
    """

    __slots__ = ("answers", "last", "pid", "rounds")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.last: tuple[float, Report] | None = None
        self.answers: dict[int, Health] = {}  # by the number of the check
        self.rounds: dict[str, _Round] = {}

    def kept(self, age: float) -> Report | None:
        last = self.last
        return last[1] if last is not None and time.monotonic() - last[0] < age else None


def _members(health: Health) -> dict[str, typing.Any]:
    return {name: value for name, value in dataclasses.asdict(health).items() if value is not None}
