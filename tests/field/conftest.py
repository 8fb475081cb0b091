"""What these tests share with those of the worker: a broker, a publisher, and workers that are stopped at the end."""

from __future__ import annotations

from tests.worker.conftest import broker, publisher, start

__all__ = ["broker", "publisher", "start"]
