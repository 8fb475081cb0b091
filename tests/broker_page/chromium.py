"""Drives a headless Chromium over the DevTools protocol, through two pipes. No driver and no package is needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import typing

import pytest

#: Seconds for one step, on a machine with much else to do.
PATIENCE = 90.0
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
_WITH_PIPES = (
    "import os, sys; r, w = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2])); "
    "r, w = os.dup2(r, 30), os.dup2(w, 31); os.dup2(30, 3); os.dup2(31, 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def find_chromium() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for path in map(shutil.which, _NAMES) if path), None)


def provided(request: pytest.FixtureRequest) -> typing.Iterator[Chromium]:
    """A browser for tests. Without Chromium they are skipped, or fail with ``--require-brokers``."""
    path = find_chromium()
    if path is None:
        missing = "Chromium is not installed: apt-get install chromium"
        if request.config.option.require_brokers:
            pytest.fail(f"{missing} (--require-brokers)", pytrace=False)
        pytest.skip(missing)
    with Chromium(path) as browser:
        yield browser


class Chromium:
    """One browser with one tab. `requests` has every URL that the tab asked for, `problems` what its console says."""

    def __init__(self, path: str) -> None:
        self._loads = 0
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._answers: dict[int, dict[str, typing.Any]] = {}
        self._last = 0
        self._buffer = b""
        self._session: str | None = None
        self._stack = contextlib.ExitStack()
        profile = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        command = [
            *(sys.executable, "-c", _WITH_PIPES, str(theirs_in), str(theirs_out), path),
            *("--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-sandbox"),
            *("--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-extensions", "--hide-scrollbars", "--no-proxy-server"),
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        targets = self._eventually_a_tab()
        self._session = self.call("Target.attachToTarget", targetId=targets, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _eventually_a_tab(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for target in self.call("Target.getTargets")["targetInfos"]:
                if target["type"] == "page":
                    return str(target["targetId"])
            time.sleep(0.05)
        raise TimeoutError("Chromium has no tab")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            self._session = None
            self.call("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._stack.close()

    def call(self, method: str, **parameters: typing.Any) -> dict[str, typing.Any]:
        """Call a method of the DevTools protocol, and return its result."""
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while number not in self._answers:
            self._read(deadline)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self, deadline: float) -> None:
        ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise TimeoutError("Chromium does not answer")
        data = os.read(self._from, 1 << 20)
        if not data:
            raise EOFError("Chromium has ended")
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in messages:
            self._take(json.loads(message))

    def _take(self, message: dict[str, typing.Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        details = message["params"]
        if message["method"] == "Page.loadEventFired":
            self._loads += 1
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(details["exceptionDetails"]))
        elif message["method"] == "Runtime.consoleAPICalled":
            self.problems.append(json.dumps(details["args"]))
        elif message["method"] == "Log.entryAdded":
            self.problems.append(json.dumps(details["entry"]))

    def open(self, url: str) -> None:
        """Open *url*."""
        self.call("Page.navigate", url=url)

    def load(self, action: typing.Callable[[], object]) -> None:
        """Do something that leads to another page, and wait until that page is loaded."""
        before, deadline = self._loads, time.monotonic() + PATIENCE
        action()
        while self._loads == before:
            self._read(deadline)

    def run(self, script: str) -> typing.Any:
        """Return the value of a JavaScript expression. A promise is awaited."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in done:
            raise RuntimeError(json.dumps(done["exceptionDetails"]))
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.run(f"!!({condition})"):
                return
            time.sleep(0.05)
        raise AssertionError(f"not true after {PATIENCE} s: {condition}\n{self.run('document.body.innerText')}")

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a mouse does. It must be visible, and nothing may cover it."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect(); "
            "const x = r.left + Math.min(r.width / 2, 40), y = r.top + r.height / 2; "
            "return [x, y, e.contains(document.elementFromPoint(x, y))]; })()"
        )
        assert place[2], f"{selector} is covered"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type *text* into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int, text: str = "", modifiers: int = 0) -> None:
        """Press and release a key."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def show(self, width: int, height: int, scheme: str = "light", *, mobile: bool = False, scale: float = 1) -> None:
        """Set the size of the window and the colour scheme that the user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
