"""The whole way of a message, from a web request to a subscriber: ``python3 dev.py demo``.

It starts the development broker, the Flask example under a real HTTP server, and a subscriber. Then it places orders
over HTTP and shows each message as it arrives. Once, the broker fails on purpose. The exit code is 0 if everything that
was sent has arrived, and 1 if not.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import json
import logging
import os
import pprint
import queue
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
import typing
import urllib.parse
import urllib.request
from pathlib import Path

from example_apps.flask_app import create_app
from stomp_web import Frame, QueueingDuplexClient, StompError
from stomp_web.broker import Broker
from stomp_web.flask import message_sent
from stomp_web.serializers import deserialize

if typing.TYPE_CHECKING:
    from flask import Flask

ORDERS, AUDIT = "/queue/orders", "/queue/audit"
DEADLINE = 10.0  # seconds for each single step; the whole takes less than two
TEMPORARY = Path(__file__).parent / "flask_app" / "instance"


class DemoFailed(Exception):
    """Something did not come as it should; the text says what."""


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration, and return the exit code."""
    arguments = parse(argv)
    try:
        with contextlib.ExitStack() as stack:
            demo = Demo(stack, arguments.port)
            demo.run()
            if arguments.keep_running:
                demo.keep_running()
            else:
                say("\nTo leave it running and try it in a browser:  python3 dev.py demo --keep-running")
    except KeyboardInterrupt:
        say("\nStopped.")
        return 0 if arguments.keep_running else 130
    except (DemoFailed, StompError, OSError) as error:
        say(f"\nFAILED: {error}")
        return 1
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py demo", description="Show the whole way of a message.")
    parser.add_argument("--keep-running", action="store_true", help="stay up afterwards, to be tried in a browser")
    parser.add_argument("--port", type=int, default=0, help="the web application's port (default: any free one)")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port < 65536:
        parser.error(f"{arguments.port} is no port")
    return arguments


class Demo:
    """The running parts, all in this process; *stack* ends them, the last one first."""

    def __init__(self, stack: contextlib.ExitStack, port: int) -> None:
        self.began = time.monotonic()
        # With a passcode, as messages are unpickled here: nobody else on this machine may send one.
        self.broker = stack.enter_context(Broker(login="demo", passcode=secrets.token_urlsafe(12)))
        say(f"Broker       stomp://127.0.0.1:{self.broker.port}  the development broker, in this process")

        self.receipts = Receipts()
        self.site, server = start_web_application(stack, port, self.broker.url, self.receipts)
        say(f"Application  {self.site}  example_apps/flask_app, served by {server}")

        self.subscriber = start_subscriber(stack, self.broker.url)
        say(f"Subscriber   {ORDERS} and {AUDIT}, in a thread of its own")
        self.arrived: list[Frame] = []
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # straight to this machine

    def run(self) -> None:
        """Place orders, and check that each message arrives once."""
        self.step("Ada orders two packets of espresso beans")
        self.place("Ada Lovelace", "Espresso beans, 250 g", 2)
        self.show_arrivals("Ada Lovelace")

        self.step("Somebody tries to smuggle HTML into the page")
        page = self.place("<script>alert(1)</script>", "Green tea, 100 g", 1)
        expect("<script>" not in page, "the page must show the name as text")
        self.show_arrivals("<script>alert(1)</script>")

        self.step("The broker drops the connection as the next order comes in")
        self.broker.faults.drop("SEND")
        page = self.place("Grace Hopper", "Hand grinder", 1, confirmed=False)
        expect("Try again" in page, "the page must offer to try again")

        self.step('Grace presses "Try again"')
        order_id = re.findall(r"/orders/(\d+)/announce", page)[0]
        self.post(f"/orders/{order_id}/announce", {})
        self.show_arrivals("Grace Hopper")
        self.compare()

    def compare(self) -> None:
        """Compare what was confirmed with what has arrived."""
        confirmed, arrived = sorted(self.receipts), sorted(frame.headers["x-message-id"] for frame in self.arrived)
        expect(confirmed == arrived, f"confirmed: {confirmed}, but arrived: {arrived}")
        expect(self.subscriber.message_queue.empty(), "more has arrived than was sent")
        seconds = time.monotonic() - self.began
        count = len(arrived)
        say(f"\nOK: 3 orders, {count} messages confirmed by the broker, {count} arrived at the subscriber, each once.")
        say(f"It took {seconds:.1f} s.")

    def keep_running(self) -> None:
        """Show what arrives until Ctrl-C."""
        say(f"\nOpen {self.site}/ in a browser and order something: the messages appear here.")
        say("From another terminal, in this folder, you can send something yourself:")
        say(f"  STOMP_URL={self.broker.url} .venv/bin/stomp-web send /queue/orders hello")
        say("Press Ctrl-C to stop it all.")
        while True:
            with contextlib.suppress(queue.Empty):
                self.show(self.subscriber.message_queue.get(timeout=3600), patience=0.1)

    # -- the steps --------------------------------------------------------------------------------------------

    def step(self, title: str) -> None:
        say(f"\n--- {title}")

    def place(self, customer: str, item: str, quantity: int, confirmed: bool = True) -> str:
        page = self.post("/orders", {"customer": customer, "item": item, "quantity": str(quantity)})
        expect(("is saved and announced" in page) == confirmed, f"the page says: {notice(page)}")
        return page

    def post(self, path: str, form: dict[str, str]) -> str:
        """Send a form as a browser does, and return the page that it ends on."""
        began = time.monotonic()
        request = urllib.request.Request(self.site + path, urllib.parse.urlencode(form).encode(), method="POST")
        with self.opener.open(request, timeout=DEADLINE) as response:
            page = str(response.read().decode())
        say(f"POST {path}  {response.status} after {(time.monotonic() - began) * 1000:.1f} ms")
        say(f"The page says: {notice(page)}")
        return page

    def show_arrivals(self, customer: str) -> None:
        """Show the two messages of one order, and make sure that they are those."""
        for destination in (ORDERS, AUDIT):
            try:
                frame = self.subscriber.message_queue.get(timeout=DEADLINE)
            except queue.Empty:
                raise DemoFailed(f"no message arrived from {destination} within {DEADLINE:g} s") from None
            self.arrived.append(frame)
            self.show(frame)
            expect(frame.headers["destination"] == destination, f"this should have come from {destination}")
            if destination == ORDERS:
                expect(json.loads(frame.body)["customer"] == customer, f"this should be the order of {customer}")

    def show(self, frame: Frame, patience: float = DEADLINE) -> None:
        """Print a message as it came to the subscriber, and what the broker had confirmed to its sender."""
        say(f"\n  Message from {frame.headers['destination']}")
        for name, value in frame.headers.items():
            if name != "destination":
                say(f"    {name}: {printable(value)}")
        say("")
        for line in body_text(frame).splitlines():
            say(f"    {line}")
        say(f"\n    {self.receipts.text(frame.headers.get('x-message-id', ''), patience)}")


class Receipts(dict[str, float]):
    """What the broker has confirmed to the application: seconds from `send` to the receipt, by message id."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def note(self, sender: Flask, *, message_id: str, confirmed: bool, seconds: float, **_: object) -> None:
        """Receive the signal `message_sent` of the Flask extension."""
        if confirmed:
            with self._changed:
                self[message_id] = seconds
                self._changed.notify_all()

    def text(self, message_id: str, patience: float) -> str:
        """What is known of a message. It may be here before its receipt is at its sender: wait *patience* seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: message_id in self, patience):
                return "This one was not sent by the application."
        return (
            f"The broker confirmed it to the application with a receipt, {self[message_id] * 1000:.1f} ms after send()."
        )


# ---------------------------------------------------------------------------------------------------------- the parts


def start_web_application(stack: contextlib.ExitStack, port: int, url: str, receipts: Receipts) -> tuple[str, str]:
    """Serve the Flask example from a thread; return its address and the server's name."""
    TEMPORARY.mkdir(exist_ok=True)
    folder = stack.enter_context(tempfile.TemporaryDirectory(dir=TEMPORARY, prefix=f"demo-{os.getpid()}-"))
    app = create_app({"STOMP_URL": url, "DATABASE": Path(folder) / "orders.sqlite3"})
    stack.callback(app.extensions["stomp"].close)
    stack.enter_context(message_sent.connected_to(receipts.note, app))
    return start_server(stack, app, port)


def start_server(stack: contextlib.ExitStack, app: Flask, port: int) -> tuple[str, str]:
    """Serve *app* with waitress if that is installed, and with the server that comes with Flask if not."""
    try:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
    except OSError as error:
        raise DemoFailed(f"port {port} cannot be used: {error.strerror}; choose another with --port") from None
    site = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        import waitress.server  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it would report each request
        plain = make_server("127.0.0.1", 0, app, threaded=True, fd=listener.fileno())
        stack.callback(plain.server_close)
        serve(stack, "werkzeug", lambda: plain.serve_forever(poll_interval=0.05), plain.shutdown)
        return site, "werkzeug"
    sockets: dict[typing.Any, typing.Any] = {}
    server = waitress.server.create_server(app, sockets=[listener], map=sockets)

    def close() -> None:
        # In the server's own thread: without sockets its loop ends.
        server.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(sockets))

    serve(stack, "waitress", server.run, close)
    stack.callback(server.task_dispatcher.shutdown, timeout=1)
    return site, "waitress"


def serve(
    stack: contextlib.ExitStack, name: str, run: typing.Callable[[], object], end: typing.Callable[[], object]
) -> None:
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    stack.callback(thread.join, DEADLINE)
    stack.callback(end)


def start_subscriber(stack: contextlib.ExitStack, url: str) -> QueueingDuplexClient:
    """Connect, subscribe, and let the client listen in a thread; its messages come on its queue."""
    client = QueueingDuplexClient.from_url(url)
    client.connect()
    for destination in (ORDERS, AUDIT):
        client.subscribe(destination)
    thread = threading.Thread(target=client.listen_forever, name="subscriber", daemon=True)
    thread.start()
    stack.callback(thread.join, DEADLINE)
    stack.callback(client.shutdown_event.set)
    return client


# ---------------------------------------------------------------------------------------------------- what is printed


def body_text(frame: Frame) -> str:
    """The body for people. A pickle may be read here, as only our application can have sent it; never do otherwise."""
    content_type = frame.headers.get("content-type", "")
    try:
        payload = deserialize(frame.body, frame.headers, accept=("json", "text", "bytes", "pickle"))
    except StompError as error:
        return f"({error})\n{frame.body[:1000]!r}"
    if content_type == "application/json":
        return json.dumps(payload, indent=2, ensure_ascii=False)
    if isinstance(payload, str):
        return "\n".join(map(printable, payload.splitlines()))
    note = f"({len(frame.body)} bytes of pickle, which hold:)\n" if "python" in content_type else ""
    return note + pprint.pformat(payload, sort_dicts=False)


def notice(page: str) -> str:
    """The words of the page's notice."""
    found = re.search(r'<div class="notice.*?</div>', page, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[0])).split()) if found else "nothing"


def printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise DemoFailed(otherwise)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C; SIGHUP is the terminal that is closed
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    sys.exit(main())
