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
DEADLINE = 150.0
ORDERS = 4 if demo.OUTBOX else 3


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
    assert out.count("Message from /queue/orders") == ORDERS
    assert out.count("Message from /queue/audit") == ORDERS
    assert len(re.findall(r"confirmed it to the application with a receipt, [0-9.]+ ms", out)) == 6
    assert '"customer": "Ada Lovelace"' in out
    assert "'at': datetime.datetime(" in out
    assert "x-message-id: " in out
    assert "Order 3 is saved, but not confirmed." in out
    assert len(re.findall(r"The page says of order [1234]: handled \d+ \w+, [\d:]+ UTC", out)) == ORDERS
    both = 2 * ORDERS
    assert (
        f"OK: {ORDERS} orders, {both} messages confirmed by the broker, {both} arrived at the worker, each once" in out
    )
    assert "python3 dev.py demo --keep-running" in out


@pytest.mark.skipif(not demo.OUTBOX, reason="it needs Flask-SQLAlchemy")
class TestAProcessThatIsKilled:
    def test_its_order_arrives_when_a_relay_runs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert demo.main([]) == 0
        out = capsys.readouterr().out
        killed, arrived = out.partition("\n--- A relay runs")[::2]
        assert re.search(r"Process \d+ has committed order no. 4, and is dead: killed by signal 9\.", killed)
        assert "not announced waiting not handled yet" in killed
        assert "Charles Babbage" not in killed.partition("The page says: Charles Babbage")[2]
        assert '"customer": "Charles Babbage"' in arrived
        assert arrived.count("The broker confirmed it to the relay.") == 2

    def test_without_the_relay_it_is_a_failure(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(demo.Demo, "relay", lambda self: monkeypatch.setattr(demo, "DEADLINE", 1.0))
        assert demo.main([]) == 1
        assert "FAILED: no message arrived from /queue/orders within 1 s" in capsys.readouterr().out

    def test_a_process_that_does_not_commit_is_a_failure(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(demo.Demo, "environment", lambda self: {**os.environ, "STOMP_URL": "nonsense://"})
        assert demo.main([]) == 1
        assert "FAILED: the process that takes the order must commit it, but says: " in capsys.readouterr().out


def test_without_flask_sqlalchemy_it_shows_the_wsgi_example() -> None:
    program = (
        "import sys; sys.modules['flask_sqlalchemy'] = None; sys.modules['sqlalchemy'] = None\n"
        "from example_apps import demo; sys.exit(demo.main([]))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "example_apps/wsgi_app" in done.stdout
    assert "Left out: it needs an outbox, and Flask-SQLAlchemy is not installed" in done.stdout
    assert "OK: 3 orders, 6 messages confirmed" in done.stdout


def test_without_flask_sqlalchemy_the_flask_example_says_so_in_a_sentence() -> None:
    program = "import sys; sys.modules['flask_sqlalchemy'] = None; import example_apps.flask_app"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "The Flask example needs Flask-SQLAlchemy: pip install flask-sqlalchemy\n"


def test_a_message_that_does_not_arrive_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = demo.Demo.show

    def show_and_lose_patience(self: demo.Demo, message: typing.Any) -> None:
        show(self, message)
        assert message.destination == demo.ORDERS
        monkeypatch.setattr(demo, "DEADLINE", 1.0)

    monkeypatch.setattr(demo, "AUDIT", "/queue/elsewhere")
    monkeypatch.setattr(demo.Demo, "show", show_and_lose_patience)
    assert demo.main([]) == 1
    assert "FAILED: no message arrived from /queue/elsewhere" in capsys.readouterr().out


def test_an_order_that_is_not_handled_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(message: object, *session: object) -> None:
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
