"""Where the programs of the brokers are, on whatever machine this is."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def program(name: str, *patterns: str) -> Path | None:
    """A program on PATH, or the newest file that one of the patterns finds."""
    found = shutil.which(name)
    if found:
        return Path(found)
    return newest(matching(*patterns))


def matching(*patterns: str) -> Iterator[Path]:
    """The files and directories that absolute patterns find."""
    for pattern in patterns:
        yield from Path("/").glob(pattern.lstrip("/"))


def newest(paths: Iterable[Path]) -> Path | None:
    """The last of the existing paths in the order of their names, which for our brokers end in a version."""
    return max((path for path in paths if path.exists()), default=None)


@functools.cache
def package_files(package: str) -> tuple[Path, ...]:
    """The files of a Debian package; none when it is not installed, or this is not Debian."""
    try:
        listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(map(Path, listed.stdout.splitlines())) if listed.returncode == 0 else ()
