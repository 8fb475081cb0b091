"""Faults of accessibility in a page, found by axe-core, which the variable STOMP_WEB_AXE names."""

from __future__ import annotations

import os
import typing
from pathlib import Path

import pytest

from tests.broker_page.chromium import Chromium

VARIABLE = "STOMP_WEB_AXE"


def axe_script() -> str:
    """The script of axe-core. Without the variable the test is skipped."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"{VARIABLE} does not name axe.min.js, which .ci/axe-core brings")
    return Path(path).read_text(encoding="utf-8")


def serious_faults(browser: Chromium, script: str) -> list[typing.Any]:
    """What axe-core calls serious or critical in the page that is open: impact, rule, and the first element."""
    browser.run(script)
    found = browser.run("axe.run().then((r) => r.violations.map((v) => [v.impact, v.id, v.nodes[0].html]))")
    return [each for each in found if each[0] in ("serious", "critical")]
