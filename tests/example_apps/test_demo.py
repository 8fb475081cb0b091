"""`python3 dev.py demo`: everything that is sent arrives and is handled, and the exit code says so."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import typing
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("flask")

from example_apps import demo
from stomp_web import Publisher

ROOT = Path(demo.__file__).parents[1]
DEADLINE = 60.0


def folders() -> set[Path]:
    return set((ROOT / "example_apps" / "flask_app" / "instance").glob("demo-*"))


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Other demos may run in the same clone; ours removes what it made."""
    before = folders()
    yield
    assert [folder for folder in folders() - before if not belongs_to_another(folder)] == []


def belongs_to_another(folder: Path) -> bool:
    """Whether a demo that runs beside this test, in another process, uses *folder*."""
    owner = int(folder.name.split("-")[1])
    if owner == os.getpid():
        return False
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_shows_each_message_and_what_was_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main([]) == 0
    out = capsys.readouterr().out
    assert out.count("Message from /queue/orders") == 3
    assert out.count("Message from /queue/audit") == 3
    assert len(re.findall(r"confirmed it to the application with a receipt, [0-9.]+ ms", out)) == 6
    assert '"customer": "Ada Lovelace"' in out
    assert "'at': datetime.datetime(" in out
    assert "x-message-id: " in out
    assert "Order 3 is saved, but not confirmed." in out
    assert len(re.findall(r"The page says of order [123]: handled \d+ \w+, [\d:]+ UTC", out)) == 3
    assert "OK: 3 orders, 6 messages confirmed by the broker, 6 arrived at the worker, each once; all orders" in out
    assert "python3 dev.py demo --keep-running" in out


def test_a_message_that_does_not_arrive_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "AUDIT", "/queue/elsewhere")
    monkeypatch.setattr(demo, "DEADLINE", 1.0)
    assert demo.main([]) == 1
    assert "FAILED: no message arrived from /queue/elsewhere" in capsys.readouterr().out


def test_an_order_that_is_not_handled_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(message: object) -> None:
        raise RuntimeError("the scale is broken")

    monkeypatch.setattr(demo, "handle_order", break_down)
    assert demo.main([]) == 1
    assert "FAILED: the worker says: " in (out := capsys.readouterr().out)
    assert "RuntimeError: the scale is broken" in out


def test_a_port_in_use_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert demo.main(["--port", str(port)]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().out


def test_it_works_without_waitress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "waitress.server", None)
    assert demo.main([]) == 0
    assert "served by werkzeug" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_keeps_running_until_it_is_told_to_stop(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "example_apps.demo", "--keep-running"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        site = find(process, r"Open (http://\S+)")
        url = find(process, r"STOMP_URL=(\S+)")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(site, timeout=DEADLINE) as page:
            assert "Ada Lovelace" in page.read().decode()
        with Publisher(url) as publisher:
            publisher.send("/queue/orders", "hello from outside", serializer="text")
            publisher.send("/queue/orders", b"{", {"content-type": "application/json"}, serializer="bytes")
        assert find(process, "(hello from outside)")
        assert find(process, "(not sent by the application)")
        assert find(process, "Reject: (there is no order)")
        assert find(process, "(cannot be read as json)")
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.endswith("Stopped.\n")


def find(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    for line in typing.cast("typing.Iterable[str]", process.stdout):
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"{pattern} was not printed; {process.communicate()[1]}")
