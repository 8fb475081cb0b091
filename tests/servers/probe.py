"""What the applications have in common: the deed of a request, and what its process says of itself.

Each of them sends a message when its module is loaded. Where a server loads it before it forks, a connection is then
open in the parent, and every worker inherits it.
"""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stomp_web import Publisher

LOADED_BY = os.getpid()
QUEUE = os.environ.get("STOMP_TEST_QUEUE", "/queue/orders")
LOADED = QUEUE + "-loaded"


def answer(path: str, publisher: Publisher) -> bytes:
    """Send the number in *path*, ``/17``, and describe this process. For ``/waiting``, tell how many callers wait."""
    what = path.strip("/")
    if what == "waiting":
        pool = publisher.stats().pool
        return json.dumps(pool and pool.waiting).encode()
    number = int(what)
    identity = publisher.send(QUEUE, number)
    status = Path("/proc/self/status")
    native = re.search(r"Threads:\s*(\d+)", status.read_text()) if status.exists() else None
    return json.dumps(
        {
            "number": number,
            "id": identity,
            "pid": os.getpid(),
            "loaded_by": LOADED_BY,
            # Not active_count(): with gevent and Python 3.13 the main thread is listed twice after a fork.
            "threads": len(set(threading.enumerate())),
            "native_threads": int(native[1]) if native else None,
        }
    ).encode()
