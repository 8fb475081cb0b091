"""The example applications under real servers, a browser to use them with, and their consumers."""

from __future__ import annotations

import contextlib
import html
import http.cookiejar
import importlib.util
import os
import re
import signal
import sqlite3
import subprocess
import sys
import typing
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE = 150.0
NAMES = ("flask", "django", "wsgi")


def lack(name: str) -> str:
    """What the example needs and is not installed."""
    needs = {"flask": ["flask", "flask_sqlalchemy"], "django": ["django", "waitress"], "wsgi": []}[name]
    return ", ".join(module for module in needs if importlib.util.find_spec(module) is None)


class Page(typing.NamedTuple):
    """What the browser shows in the end: the status, the HTML, and the content type."""

    status: int
    html: str
    kind: str

    @property
    def notice(self) -> str:
        """The words of the notice at the top."""
        return words_of(self.html, r'<div class="notice.*?</div>')

    @property
    def newest(self) -> str:
        """The words of the newest order in the list."""
        return words_of(self.html, r"<li>.*?</li>")

    @property
    def moment(self) -> str:
        """When the newest order was handled; ``""`` if it was not."""
        newest = self.html.partition("<li>")[2].partition("</li>")[0]
        found = re.search(r'<time class="soft" datetime="([^"]+)"', newest)
        return found[1] if found else ""

    @property
    def looks_again(self) -> bool:
        """Whether the page looks again by itself."""
        return "data-waits" in self.html

    @property
    def retry_path(self) -> str:
        """Where the first button "Try again" leads to."""
        return re.findall(r'action="([^"]*/announce)"', self.html)[0]


def words_of(page: str, pattern: str) -> str:
    found = re.search(pattern, page, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[0])).split()) if found else ""


class Site:
    """One application, as a browser sees it. *environment* is that of its process."""

    def __init__(self, name: str, url: str, environment: dict[str, str]) -> None:
        self.name = name
        self.url = url
        self.environment = environment
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)

    def get(self, path: str) -> Page:
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path: str, form: typing.Mapping[str, str], **headers: str) -> Page:
        """Send a form that was fetched before, with the token that was in it."""
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get("/").html)
        return self.post_blindly(path, {**form, **({"csrfmiddlewaretoken": token[1]} if token else {})}, **headers)

    def post_blindly(self, path: str, form: typing.Mapping[str, str], **headers: str) -> Page:
        request = urllib.request.Request(self.url + path, urllib.parse.urlencode(form).encode(), method="POST")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        return self._open(request)

    def order(self, customer: str = "Ada", item: str = "Green tea, 100 g", quantity: str = "2") -> Page:
        return self.post("/orders", {"customer": customer, "item": item, "quantity": quantity})

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            answer = self._opener.open(request, timeout=DEADLINE)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Page(answer.status, answer.read().decode(), answer.headers["Content-Type"])


# What starts each application: the line of the README, but for the port, which is any free one. Django's runserver does
# not say which one it has taken, so Django is served by waitress.
COMMANDS: dict[str, list[list[str]]] = {
    "flask": [["-m", "flask", "--app", "example_apps.flask_app", "run", "--port", "0"]],
    "wsgi": [["-m", "example_apps.wsgi_app", "0"]],
    "django": [
        ["-m", "example_apps.django_app", "migrate", "--verbosity", "0"],
        ["-m", "waitress", "--listen", "127.0.0.1:0", "example_apps.django_app.wsgi:application"],
    ],
}


# What starts the consumer of each: the line of the README.
CONSUMERS: dict[str, list[str]] = {
    "flask": ["-m", "flask", "--app", "example_apps.flask_app", "stomp", "worker"],
    "wsgi": ["-m", "stomp_web", "worker", "example_apps.wsgi_app.worker:worker"],
    "django": ["-m", "example_apps.django_app", "stomp_worker"],
}


def discard_unsent(site: Site) -> None:
    """Discard all messages in the outbox of *site* that are not sent, as an operator does it."""
    database = site.environment["ORDERS_DATABASE"]
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ids = [str(id_) for (id_,) in connection.execute("SELECT id FROM stomp_web_outbox WHERE state <> 'sent'")]
    command = {
        "flask": ["-m", "stomp_web", "outbox", "discard", *ids, "--database", f"sqlite:///{database}"],
        "django": ["-m", "example_apps.django_app", "stomp_outbox", "discard", *ids],
    }[site.name]
    subprocess.run([sys.executable, *command], cwd=ROOT, env=site.environment, check=True, timeout=DEADLINE)


@contextlib.contextmanager
def serving(name: str, broker_url: str, database: Path) -> typing.Iterator[Site]:
    """Serve one of the applications in a process of its own."""
    environment = {**os.environ, "STOMP_URL": broker_url, "ORDERS_DATABASE": str(database), "PYTHONUNBUFFERED": "1"}
    *before, command = COMMANDS[name]
    for each in before:
        subprocess.run([sys.executable, *each], cwd=ROOT, env=environment, check=True, timeout=DEADLINE)
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Site(name, printed_url(process), environment)
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=DEADLINE)
    assert "Traceback" not in out, out


class Consumer:
    """The consumer of an application, in a process of its own."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *CONSUMERS[site.name], *arguments],
            cwd=ROOT,
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> str:
        """Stop it as a service manager does, and return what it has said. Its exit code must be 0."""
        self._process.send_signal(signal.SIGTERM)
        out, _ = self._process.communicate(timeout=DEADLINE)
        assert self._process.returncode == 0, out
        return out

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:  # the test has failed before it came to `stop`
            self._process.kill()
            print(self._process.communicate(timeout=DEADLINE)[0])


def printed_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError("".join(lines))
