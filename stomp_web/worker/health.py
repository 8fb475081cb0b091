"""`WorkerHealth`: whether a worker is live and ready."""

from __future__ import annotations

import dataclasses
import typing

from ..health import Report

if typing.TYPE_CHECKING:
    from .worker import Worker

__all__ = ["WorkerHealth"]


class WorkerHealth:
    """The health of *worker*, for a `HealthServer`. A call returns the `Report`, and does not wait.

    The worker is live while `Worker.stuck` is empty. The worker is ready while it is live and `Worker.is_alive` is
    true. The details of the report are the fields of the worker's `WorkerStats`.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self) -> Report:
        """Return the report."""
        worker = self._worker
        stuck, stats = worker.stuck, worker.stats()
        # The same as `Worker.is_alive`, from the same moment as the reason.
        ready = stats.connected and not stats.stopping and stats.executors_ready == stats.executors
        reason = stuck
        if not (stuck or ready):
            if stats.stopping:
                reason = "the worker is shutting down"
            elif not stats.connected:
                reason = "there is no session with the broker, or a subscription is missing; the log says why"
            else:
                reason = f"{stats.executors_ready} of {stats.executors} threads or processes for handlers are ready"
        details = {**dataclasses.asdict(stats), "seconds": round(stats.seconds, 3)}
        return Report(not stuck, ready and not stuck, reason, details)
