"""What these tests share with those of the worker: a broker, a publisher, and workers that are stopped at the end.

A test that imports Flask or Django is skipped where that is not installed, as in the environments `core` of tox. A file
that imports it at its top is left out there as a whole, so only what every test of the file needs is imported there.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.worker.conftest import broker, publisher, start

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["broker", "publisher", "start"]

MISSING = {name for name in ("flask", "django") if find_spec(name) is None}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if not MISSING or collection_path.suffix != ".py":
        return None
    imported: set[str] = set()
    for node in ast.parse(collection_path.read_bytes()).body:
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    return True if MISSING & {name.removeprefix("stomp_web.").partition(".")[0] for name in imported} else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if error.name in MISSING:
            pytest.skip(f"{error.name} is not installed")
        raise
