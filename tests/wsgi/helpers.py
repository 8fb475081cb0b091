"""What the tests of all three frameworks need: many threads at once, and a real server in a process of its own."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import re
import selectors
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

# Each tells its port when it listens; connections that come before the first worker is ready wait in the backlog.
SERVERS = {
    "gunicorn": ["gunicorn", "--threads", "4", "--bind", "127.0.0.1:0"],
    "waitress": ["waitress", "--threads", "4", "--listen", "127.0.0.1:0"],
}
_LISTENS = re.compile(rb"http://127\.0\.0\.1:(\d+)")


def in_threads(count: int, function: Callable[[int], T]) -> list[T]:
    """Call *function* with 0, 1, ... in *count* threads that begin together; return what they return."""
    barrier = threading.Barrier(count)

    def call(number: int) -> T:
        barrier.wait(60)
        return function(number)

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


@contextlib.contextmanager
def serving(server: str, application: str, **environment: str) -> Iterator[str]:
    """The address of *application* ("module:name"), served in a process of its own while the block runs."""
    with tempfile.TemporaryDirectory() as runtime:
        # gunicorn puts a socket into the home directory if there is no better place.
        environment = environment_with(**{"XDG_RUNTIME_DIR": runtime, "PYTHONUNBUFFERED": "1", **environment})
        process = subprocess.Popen(
            [sys.executable, "-m", *SERVERS[server], application],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://127.0.0.1:{_port(process, 60)}"
        finally:
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own to its end; return its code and what it printed, errors included."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment_with(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )


def environment_with(**more: str) -> dict[str, str]:
    """The environment of a process that finds `stomp_web` and `tests`, with *more* in it."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def _port(process: subprocess.Popen[bytes], seconds: float) -> int:
    """The port that the server tells in its output."""
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 65_536)
            output += chunk
            found = _LISTENS.search(output)
            if found:
                return int(found[1])
            if not chunk:
                break
    raise AssertionError(f"the server does not listen: {output.decode(errors='replace')}")


def post(url: str, data: bytes = b"") -> tuple[int, str]:
    """POST to *url*; return the status and the text of the answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data=data, method="POST"), timeout=60) as answer:
        return answer.status, answer.read().decode()
