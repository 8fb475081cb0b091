"""What the page on types shows is accepted by mypy in its strict mode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Block, load

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("more", ["", "announce(publisher, Order(7, 7))\n"], ids=["as it is", "with a mistake"])
def test_mypy_accepts_the_files_of_the_page(tmp_path: Path, more: str) -> None:
    pytest.importorskip("mypy")
    for step in load("how-to/typing.md").steps:
        if isinstance(step, Block) and step.caption:
            (tmp_path / step.caption).write_text(step.text)
    shop = tmp_path / "shop.py"
    shop.write_text(shop.read_text() + more)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--cache-dir",
            str(tmp_path / "cache"),
            ".",
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=160,
    )
    if more:
        assert 'Argument 2 to "Order" has incompatible type "int"; expected "str"' in done.stdout
    assert done.returncode == bool(more), done.stdout + done.stderr
