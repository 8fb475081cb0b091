"""What the README shows works: each snippet is run against the development broker, and each command is started.

A snippet has its name in a comment before it, ``<!-- test: flask -->``, and a test of that name here. Only the port of
the broker is changed: one that runs on this machine already is left alone.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import threading
import types
import typing
from pathlib import Path

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.testing import capture
from tests.cli.running import ended, line_with, program

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- test: ([\w ]+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
DEADLINE = 150.0


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with Broker(login="guest", passcode="guest") as broker:
        yield broker


def text(name: str, broker: Broker) -> str:
    assert "61613" in SNIPPETS[name]
    return SNIPPETS[name].replace("61613", str(broker.port))


def run(code: str) -> dict[str, typing.Any]:
    """Run a snippet, and return its names."""
    module = types.ModuleType("snippet")
    exec(compile(code, "README.md", "exec"), module.__dict__)
    return module.__dict__


def test_each_snippet_in_python_has_a_test() -> None:
    assert len(SNIPPETS) == README.count("<!-- test: ")
    assert README.count("```python") == len(SNIPPETS) - 1  # that of the shell
    for name in SNIPPETS:
        assert f"test_{name.replace(' ', '_')}_snippet" in globals()


@pytest.mark.parametrize("name", ["flask", "django", "wsgi"])
def test_a_framework_needs_ten_lines(name: str) -> None:
    assert len([line for line in SNIPPETS[name].splitlines() if line.strip()]) <= 10


def test_flask_snippet(broker: Broker) -> None:
    pytest.importorskip("flask")
    app = run(text("flask", broker))["app"]
    answer = app.test_client().post("/orders")
    app.extensions["stomp"].close()
    [message] = broker.messages("/queue/orders")
    assert (answer.status_code, answer.json) == (202, {"id": message.headers["x-message-id"]})
    assert message.body == b'{"id":7}'


def test_wsgi_snippet(broker: Broker) -> None:
    application = run(text("wsgi", broker))["application"]
    statuses: list[str] = []
    body = b"".join(application({}, lambda status, headers: statuses.append(status)))
    application.close()
    [message] = broker.messages("/queue/orders")
    assert (statuses, body.decode()) == (["202 Accepted"], message.headers["x-message-id"])
    assert message.body == b'{"id":7}'


DJANGO_SETTINGS = """
SECRET_KEY = "x"
ROOT_URLCONF = "urls"
INSTALLED_APPS = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""

DJANGO_URLS = """
import views
from django.urls import path

urlpatterns = [path("orders", views.create_order)]
"""

DJANGO_RUN = """
import django
from django.test import Client
from django.test.utils import setup_test_environment

django.setup()
setup_test_environment()
answer = Client().post("/orders")
print(answer.status_code, answer.json()["id"])
"""


def run_with_django(folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "run.py"],
        cwd=folder,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def test_django_snippet(broker: Broker, tmp_path: Path) -> None:
    """In a process of its own, as Django's settings are for a whole process."""
    pytest.importorskip("django")
    _, settings, views = re.split(r"# settings\.py|# views\.py", text("django", broker))
    (tmp_path / "settings.py").write_text(DJANGO_SETTINGS + settings)
    (tmp_path / "views.py").write_text(views)
    (tmp_path / "urls.py").write_text(DJANGO_URLS)
    (tmp_path / "run.py").write_text(DJANGO_RUN)
    done = run_with_django(tmp_path)
    assert done.returncode == 0, done.stderr
    [message] = broker.messages("/queue/orders")
    assert done.stdout.split() == ["202", message.headers["x-message-id"]]
    assert message.body == b'{"id":7}'


DJANGO_OUTBOX_RUN = """
import django
from django.core.management import call_command

django.setup()

from django.db import transaction
from stomp_web.django import send

call_command("migrate", verbosity=0)
{snippet}
print("written")
call_command("stomp_relay", "--once")
"""


def test_django_outbox_snippet(broker: Broker, tmp_path: Path) -> None:
    pytest.importorskip("django")
    _, settings, _ = re.split(r"# settings\.py|# views\.py", text("django", broker))
    more = 'INSTALLED_APPS += ["stomp_web.django.outbox"]\n'
    (tmp_path / "settings.py").write_text(DJANGO_SETTINGS + settings + more)
    (tmp_path / "run.py").write_text(DJANGO_OUTBOX_RUN.format(snippet=SNIPPETS["django outbox"]))
    done = run_with_django(tmp_path)
    assert (done.returncode, done.stdout) == (0, "written\n"), done.stderr
    [message] = broker.messages("/queue/orders")
    assert message.body == b'{"id":7}'


def test_publisher_snippet(broker: Broker) -> None:
    run(text("publisher", broker))
    assert broker.messages("/queue/orders")[0].body == b'{"id":7}'


def test_worker_snippet(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    worker = run(text("worker", broker))["worker"]
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    with Publisher(broker.url) as publisher:
        message_id = publisher.send("/queue/orders", {"id": 7})
    assert broker.wait_until(lambda: broker.received("ACK") == 1, DEADLINE)
    worker.stop()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert capsys.readouterr().out == f"{message_id} {{'id': 7}}\n"


def test_exceptions_snippet(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    code = text("exceptions", broker)
    run(code)["publisher"].close()
    assert capsys.readouterr().out == ""
    broker.faults.close_before_receipt("SEND")
    run(code)["publisher"].close()
    assert capsys.readouterr().out.startswith("look into it: ")
    broker.stop()
    run(code)["publisher"].close()
    assert capsys.readouterr().out.startswith("try again later: ")


def test_outbox_snippet() -> None:
    names = run(SNIPPETS["outbox"])
    application = Publisher("stomp://nowhere.invalid")

    class Client:
        def post(self, path: str) -> None:
            application.send("/queue/orders", {"id": 7})

    with capture() as outbox:  # what the fixture stomp_outbox is made of
        names["test_order"](Client(), outbox)


def test_shell_snippet() -> None:
    """The three terminals, in their order. The broker takes a free port, and the listener ends after one message."""
    broker, listen, send = (shlex.split(line)[1:] for line in SNIPPETS["shell"].splitlines())
    assert all(line.startswith("stomp-web ") for line in SNIPPETS["shell"].splitlines())
    with program(*broker, "--port", "0") as serving:
        url = line_with(serving, "stomp://").split()[-1]
        with program(*listen, "--count", "1", "--timeout", "10", STOMP_URL=url) as listening:
            line_with(listening, "Listening")
            with program(*send, STOMP_URL=url) as sending:
                code, sent, _ = ended(sending)
            assert code == 0
            assert "with a receipt" in sent
            code, heard, _ = ended(listening)
        assert code == 0
        assert '{\n  "id": 7\n}' in heard


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 3
    for link in links:
        assert (ROOT / link).exists(), link


def test_links_into_a_page_lead_to_a_heading() -> None:
    links = re.findall(r"\]\(([^):#]+)#([^)]+)\)", README)
    assert len(links) > 2
    for path, anchor in links:
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], anchor


def test_the_page_on_versions_has_the_versions_of_the_table() -> None:
    def versions(text: str) -> dict[str, str]:
        rows = [[cell.strip() for cell in row.split("|")] for row in text.splitlines() if row.startswith("| ")]
        return {row[1].partition(", with its")[0]: row[2] for row in rows if re.match(r"\d", row[2])}

    here = versions(README.partition("## What it works with")[2])
    there = versions((ROOT / "docs" / "explanation" / "stability.md").read_text(encoding="utf-8"))
    assert len(there.keys() & here.keys()) > 5
    assert there.keys() - here.keys() <= {"SQLAlchemy"}
    for name in there.keys() & here.keys():
        assert here[name] == there[name], name


def test_the_two_commands_to_try_it_stand_near_the_top() -> None:
    top = "\n".join(README.splitlines()[:50])
    assert "```shell\npython3 dev.py demo\npython3 dev.py test\n```" in top.partition("## See it run")[2]


def test_commands_and_extras_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r'"stomp-web\[(\w+)\]"', README):
        assert f"\n{extra} = [" in project
    for command in re.findall(r"^python3 dev\.py (\w+)", README, re.MULTILINE):
        assert f"python3 dev.py {command}" in (ROOT / "dev.py").read_text(encoding="utf-8")
    if importlib.util.find_spec("flask"):
        from stomp_web.flask.cli import cli

        assert {"send", "ping", "config", "worker"} <= set(cli.commands)
    for command in ("stomp_send", "stomp_ping", "stomp_worker"):
        assert command in README
        assert (ROOT / "stomp_web" / "django" / "management" / "commands" / f"{command}.py").exists()
