"""docs/how-to/logging.md names every logger, and none that does not exist."""

from __future__ import annotations

import re

from tests.docs.pages import DOCS

PACKAGE = DOCS.parent / "stomp_web"


def test_the_page_names_the_loggers() -> None:
    made = {
        f"stomp_web.{name}"
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r'get_logger\("(\w+)"\)', path.read_text(encoding="utf-8"))
    }
    page = (DOCS / "how-to" / "logging.md").read_text(encoding="utf-8")
    table = page.partition("\n## The loggers\n")[2].partition("\n## ")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`(stomp_web\.\w+)`", " ".join(first))) == sorted(made)


def test_every_logger_is_made_by_the_function_that_guards_it() -> None:
    """So the test above finds all of them."""
    text = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    calls = {name for name, code in text.items() if re.search(r"get_logger\((?!\"\w+\"\)|name: str)", code)}
    assert calls == set()
    direct = {name for name, code in text.items() if "logging.getLogger(" in code}
    assert direct == {"_internal/log.py", "_internal/status_line.py", "cli/broker.py"}
