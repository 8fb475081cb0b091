"""The plugin in a pytest of its own, as a user has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.wsgi.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
import pytest
from stomp_web import Publisher

publisher = Publisher("stomp://127.0.0.1:1")


@pytest.mark.parametrize("number", [1, 2])
def test_outbox(stomp_outbox, number):
    publisher.send("/queue/a", number)
    assert [message.payload for message in stomp_outbox] == [number]


def test_broker(stomp_broker):
    with Publisher(stomp_broker.url) as publisher:
        publisher.send("/queue/a", {"id": 7})
    assert stomp_broker.messages("/queue/a")[0].body == b'{"id":7}'


def test_nothing_is_imported_or_changed_for_those_who_do_not_ask():
    import os, subprocess, sys
    program = "import sys, stomp_web.testing.pytest_plugin; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert not {"flask", "django", "stomp_web.broker"} & set(modules)
"""


def run_pytest(folder: Path, *arguments: str):
    # By its module's name, so that it is there if stomp-web is not installed, and not twice if it is.
    plugin = ["-p", "no:stomp_web", "-p", "stomp_web.testing.pytest_plugin", "-p", "no:cacheprovider"]
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return run_python("-m", "pytest", "-q", "--rootdir", str(folder), *plugin, *arguments, str(folder))


def test_its_fixtures_record_messages_and_start_a_broker(tmp_path: Path):
    (tmp_path / "test_shop.py").write_text(TESTS)

    result = run_pytest(tmp_path)

    assert "4 passed" in result.stdout, result.stdout


def test_its_fixtures_say_what_they_are(tmp_path: Path):
    listing = run_pytest(tmp_path, "--fixtures").stdout

    assert "stomp_outbox --" in listing
    assert "stomp_broker --" in listing
