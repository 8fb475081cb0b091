"""A worker that runs in a thread of the test, and a handler that notes what it gets."""

from __future__ import annotations

import contextlib
import threading
import typing
from pathlib import Path

from stomp_web import Publisher, StompError
from stomp_web.broker import Broker
from stomp_web.worker import ReceivedMessage, Worker
from tests.client.scripted import eventually

__all__ = ["PATIENCE", "Notes", "Running", "open_files", "own_threads", "patient", "settled"]

#: Seconds after which a test that waits in vain fails.
PATIENCE = 150.0


def patient(broker: Broker, **options: typing.Any) -> Publisher:
    """A publisher that gives up as late as the tests do, and not after its default of 5 seconds."""
    return Publisher(broker.url, timeout=PATIENCE, connect_timeout=PATIENCE, **options)


class Running:
    """`Worker.run` in a thread, with what it returned or raised."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.code: int | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="test runs a worker", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.code = self.worker.run()
        except StompError as error:
            self.error = error

    def alive(self) -> Running:
        """Wait until it is."""
        assert eventually(lambda: self.worker.is_alive or self.error, PATIENCE), "the worker is not alive"
        assert self.error is None, self.error
        return self

    def ended(self, within: float = PATIENCE) -> bool:
        self.thread.join(within)
        return not self.thread.is_alive()

    def stop(self) -> int | None:
        """Shut it down cleanly, and return the exit code."""
        self.worker.stop()
        assert self.ended(), "the worker does not end"
        return self.code


class Notes:
    """A handler. It notes each message, and does what the test gives it to do."""

    def __init__(self, do: typing.Callable[[ReceivedMessage], object] | None = None) -> None:
        self.messages: list[ReceivedMessage] = []
        self._do = do
        self._changed = threading.Condition()

    def __call__(self, message: ReceivedMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        if self._do is not None:
            self._do(message)

    @property
    def payloads(self) -> list[typing.Any]:
        return [message.payload for message in self.messages]

    def wait(self, count: int, timeout: float = PATIENCE) -> list[ReceivedMessage]:
        """Wait until it was called so often."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.messages) >= count, timeout)
            assert enough, f"{len(self.messages)} of {count} messages came within {timeout} s"
            return list(self.messages)


def settled(broker: Broker, destination: str = "/queue/a", timeout: float = PATIENCE) -> bool:
    """Wait until no message of this queue waits or is unacknowledged, both at the same moment."""

    def is_empty() -> bool:
        with broker._loop.state:
            return not (broker.pending(destination) or broker.unacknowledged(destination))

    return broker.wait_until(is_empty, timeout)


def own_threads() -> list[str]:
    """The names of the threads that a worker has started."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("stomp-worker"))


def open_files() -> typing.Iterator[tuple[str, Path]]:
    """The descriptors of this process, with what each stands for: the number is used again for another file."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the folder itself, which was open while it was read
            yield entry.name, entry.readlink()
