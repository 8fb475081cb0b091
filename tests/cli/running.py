"""Runs `stomp-web` as a program of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import typing
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE = 150.0


@contextlib.contextmanager
def program(
    *arguments: str,
    module: str = "stomp_web",
    cwd: Path = ROOT,
    stderr: int = subprocess.PIPE,
    limit: float = DEADLINE,
    **environment: str,
) -> typing.Iterator[subprocess.Popen[str]]:
    """Start ``python -m module arguments``; kill it if the test leaves it running, or after *limit* seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    alarm = threading.Timer(limit, process.kill)
    alarm.start()
    try:
        yield process
    finally:
        alarm.cancel()
        alarm.join()
        if process.poll() is None:
            process.kill()
        process.communicate()


def line_with(process: subprocess.Popen[str], text: str, stream: str = "stdout") -> str:
    """The next line of the program that holds *text*."""
    lines = []
    for line in getattr(process, stream):
        lines.append(line)
        if text in line:
            return line.strip()
    raise AssertionError(f"{text!r} is not in {''.join(lines)!r}; exit code {process.wait()}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end; return exit code, and the rest of standard output and standard error."""
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err
