"""A process that outlives the tests by a moment, to end the brokers that they could not end themselves.

Fixtures stop the brokers when a run ends, fails or is interrupted. Nothing in a process runs when it is killed;
then the pipe to the guardian closes, and the guardian kills what is still listed and removes its directory.
Run as a script it is the guardian; imported, it is the side that the tests hold.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Guardian:
    """Keeps the list of process groups, each with the directory that dies with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def watch(self, group: int, directory: Path) -> None:
        self._tell(f"watch {group} {directory}")

    def forget(self, group: int) -> None:
        self._tell(f"forget {group}")

    def close(self) -> None:
        """End the guardian; what it still watches dies."""
        if self._process is not None and self._owner == os.getpid():
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(10)
            self._process = None

    def _tell(self, line: str) -> None:
        if self._process is None or self._owner != os.getpid():
            # -I: the script must not find a module of the project under the name of one of the standard library's.
            self._process = subprocess.Popen(
                [sys.executable, "-I", __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
            )
            self._owner = os.getpid()
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def _guard() -> None:
    watched: dict[int, str] = {}
    for line in sys.stdin:
        verb, group, *directory = line.rstrip("\n").split(" ", 2)
        if verb == "watch":
            watched[int(group)] = directory[0]
        else:
            watched.pop(int(group), None)
    for group in watched:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    for directory_name in set(watched.values()):
        shutil.rmtree(directory_name, ignore_errors=True)


if __name__ == "__main__":
    _guard()
