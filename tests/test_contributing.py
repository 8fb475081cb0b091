"""CONTRIBUTING.md names what is there: its links, its commands, and every package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "stomp_web"


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)", TEXT))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_commands_are_those_of_dev_py() -> None:
    shown = set(re.findall(r"^python3 dev\.py (\w+)", TEXT, re.MULTILINE))
    assert shown == set(re.findall(r"^    python3 dev\.py (\w+)", (ROOT / "dev.py").read_text(), re.MULTILINE))


def test_every_package_is_in_the_table() -> None:
    table = TEXT.partition("\n## Where things are\n")[2].partition("\n## ")[0]
    rows = " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    named = {name.removeprefix("stomp_web/").removesuffix(".py") for name in re.findall(r"`([\w/.]+)`", rows)}
    there = {path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}
    assert named == {name for name in there if not name.startswith("_")} - {"errors"}
