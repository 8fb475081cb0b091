"""The common part of the commands that run a relay: the log and the progress line."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import typing

from .._internal.log import get_logger
from .._internal.status_line import StatusLine
from ..errors import ConfigurationError, StompError
from .database_errors import is_conflict, words_of
from .relay import Relay
from .stats import OutboxStats, RelayStats
from .store import Store

__all__ = ["RelayLine", "need_sqlalchemy", "operate", "run_relay"]

_DAY: typing.Final = 86_400.0
#: Seconds after which a relay that works would have sent a pending message.
_LONG: typing.Final = 60.0

_log = get_logger("outbox")


def run_relay(
    relay: Relay,
    *,
    once: bool = False,
    telemetry: bool = False,
    health_port: int | tuple[str, int] | None = None,
    health_file: str | None = None,
    stream: typing.TextIO | None = None,
) -> int:
    """Run *relay*, and write the relay's log and a progress line to *stream*. Default: standard error.

    `Relay.run` gets *once*. If *telemetry* is true, the numbers of the outbox become metrics of OpenTelemetry.
    *health_port* and *health_file* are the *port* and the *file* of a `HealthServer`. Returns the exit code of
    `Relay.run`, or 130 after a second Ctrl-C. Raises the exceptions of `Relay.run` and of `HealthServer`.
    """
    if telemetry:
        from ..telemetry import instrument

        instrument(relay)
    line = RelayLine(sys.stderr if stream is None else stream)
    with line.shown(_log), contextlib.ExitStack() as stack:
        if health_port is not None or health_file is not None:  # only then, health checks are loaded
            from ..health import HealthServer
            from .health import RelayHealth

            health = RelayHealth(relay)
            stack.enter_context(HealthServer(health, port=health_port, file=health_file))
            stack.enter_context(health)
        try:
            return relay.run(once=once, on_progress=line)
        except KeyboardInterrupt:
            _log.warning("stopped at once; messages that were being sent may be sent again, with the same ids")
            return 130


def need_sqlalchemy() -> None:
    """Raise `ConfigurationError` if SQLAlchemy is not installed."""
    if importlib.util.find_spec("sqlalchemy") is None:
        raise ConfigurationError(
            "SQLAlchemy is not installed, which the outbox needs: pip install 'stomp-web[sqlalchemy]'"
        )


class RelayLine(StatusLine):
    """A progress line for a relay. Pass the object to `Relay.run` as *on_progress*.

    On a terminal, each new progress line replaces the previous progress line.
    """

    def text(self, stats: RelayStats) -> str:
        """Return the text of the line."""
        problem = f"{stats.problem}; " if stats.problem else ""
        outbox = stats.outbox
        age = "" if outbox.oldest is None else f", oldest {outbox.oldest:.0f} s"
        return (
            f"{problem}waiting {outbox.pending + outbox.waiting}, sent {stats.sent}, failed {outbox.failed}, "
            f"{self.rate(stats.sent):.1f}/s{age}"
        )


def operate(store: Store, action: str, ids: typing.Sequence[int], days: float) -> str:
    """Carry out *action* and return a text to print. The actions are ``status``, ``retry``, ``discard`` and ``purge``.

    ``retry`` and ``discard`` apply to the rows with the ids in *ids*. If *ids* is empty, both actions apply to all
    failed rows. ``purge`` deletes the rows that were sent *days* days ago or earlier. Raises `StompError` if the
    database cannot be reached, or if a statement fails because of a lock of another transaction.
    """
    try:
        return _operate(store, action, ids, days)
    except store.lost as error:
        problem = "was locked by another transaction" if is_conflict(error) else "cannot be reached"
        raise StompError(f"{store.name} {problem}: {words_of(error)}") from None


def _operate(store: Store, action: str, ids: typing.Sequence[int], days: float) -> str:
    store.check()
    if action == "purge":
        return f"{store.purge(days * _DAY)} sent messages were deleted"
    if action == "retry":
        return f"{store.retry(ids or None)} messages will be sent again"
    if action == "discard":
        return f"{store.discard(ids or None)} messages were deleted, and will not be sent"
    return _status_text(store.name, store.stats())


def _status_text(name: str, outbox: OutboxStats) -> str:
    age = "" if outbox.oldest is None else f"; the oldest that is not sent is {outbox.oldest:.0f} s old"
    if outbox.oldest_pending is not None and outbox.oldest_pending > _LONG:
        age += (
            f". A pending message is {outbox.oldest_pending:.0f} s old: check that a relay runs for this database, and "
            "that it can reach the broker"
        )
    return (
        f"{name}: {outbox.pending} pending, {outbox.waiting} waiting, {outbox.failed} failed, {outbox.sent} sent and "
        f"kept{age}"
    )
