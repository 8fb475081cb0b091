"""A server in a process group of its own, and the requests that it gets."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.brokers.ports import free_ports
from tests.brokers.running import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.programs import Server

ROOT = Path(__file__).parents[2]
THREADS = 16
PATIENCE = 150.0

Answer = dict[str, Any]


class ServerFailed(AssertionError):
    """The server did not do what it was told to; the message ends with its output."""


class RunningServer:
    """A server that listens. Made by `serving`."""

    def __init__(self, server: Server, application: str, directory: Path, environment: dict[str, str]) -> None:
        self.server = server
        (self.port,) = free_ports(1)
        self._log = directory / "output.log"
        self._process = Process(
            server.command(self.port, f"tests.servers.{application}"),
            directory=ROOT,
            environment=environment,
            log=self._log,
        )

    def wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.ended(within=0.02) or time.monotonic() > deadline:
                raise ServerFailed(f"it does not listen.\n{self.output()}")

    def output(self) -> str:
        """The end of what it has written."""
        return self._log.read_text(errors="replace")[-4000:]

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, and not to its workers."""
        os.kill(self._process.pid, number)

    def ended(self) -> bool:
        return self._process.ended(within=PATIENCE)

    def kill(self) -> None:
        self._process.kill()

    def post(self, number: int | str) -> Any:
        """Send one request. None when no answer came, as it may be while the server ends or begins.

        Raises `ServerFailed` for an answer that is not 202.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", f"/{number}")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if response.status != 202:
            raise ServerFailed(f"{response.status}: {body!r}\n{self.output()}")
        return json.loads(body)

    def post_all(self, numbers: range) -> list[Answer]:
        """Send a request for each number, from 16 threads. All of them must be served."""
        with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(self.post, numbers))
        served = [answer for answer in answers if answer is not None]
        assert len(served) == len(numbers), self.output()
        return served

    @contextlib.contextmanager
    def load(self) -> Iterator[Load]:
        """Sixteen threads that send requests while the block runs."""
        load = Load(self.post)
        try:
            yield load
        finally:
            load.stop()


class Load:
    """Requests without an end, and the answers that came."""

    def __init__(self, post: Callable[[int], Answer | None]) -> None:
        self.answers: list[Answer] = []
        self.sent = 0
        self._post = post
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, condition: Callable[[list[Answer]], object]) -> None:
        """Wait until the answers so far are what *condition* wants."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: self._failures or condition(self.answers), PATIENCE)
        if self._failures:
            raise self._failures[0]
        assert arrived, f"{len(self.answers)} answers"

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        while not self._ended.is_set():
            number = next(self._numbers)
            try:
                answer = self._post(number)
            except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
                answer = None
                self._failures.append(error)
                self._ended.set()
            with self._changed:
                if answer is not None:
                    self.answers.append(answer)
                self._changed.notify_all()
            if answer is None:
                self._ended.wait(0.02)  # the server is away for a moment: do not spin


@contextlib.contextmanager
def serving(
    server: Server, url: str, directory: Path, *, application: str = "wsgi_application", **environment: str
) -> Iterator[RunningServer]:
    """Run *server* while the block runs; then kill what is left of it.

    An address without options gets the timeouts that those of the real brokers have.
    """
    if "?" not in url:
        url += f"?timeout={PATIENCE}&connect_timeout={PATIENCE}"
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as runtime:
        # gunicorn puts a socket there; the test's own directory may have too long a name for one.
        common = {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": runtime, "STOMP_TEST_URL": url}
        variables = {**os.environ, **common, **server.environment, **environment}
        running = RunningServer(server, application, directory, variables)
        try:
            running.wait_until_it_listens()
            yield running
        finally:
            running.kill()


def exactly_once(answers: list[Answer], arrived: list[tuple[int, str]]) -> None:
    """Check the one rule: the message of every answer is there, and no message twice. *arrived*: number and id."""
    times = Counter(arrived)
    promised = {(answer["number"], answer["id"]) for answer in answers}
    lost = sorted(promised - set(times))
    doubled = sorted(message for message, count in times.items() if count > 1)
    assert (lost, doubled) == ([], [])
    numbers = Counter(number for number, _ in arrived)
    assert max(numbers.values()) == 1
