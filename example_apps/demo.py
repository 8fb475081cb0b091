"""The whole way of a message, from a web request to its handler: ``python3 dev.py demo``.

It starts the development broker, the Flask example under a real HTTP server, and a worker with the example's handlers.
Then it places orders over HTTP, shows each message as it arrives, and looks on the page whether the order was handled.
Once, the broker fails on purpose. The exit code is 0 if everything that was sent has arrived and was handled, and 1 if
not.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import html
import json
import logging
import logging.handlers
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
from example_apps.flask_app.handlers import book_order, handle_order
from stomp_web import StompError
from stomp_web.broker import Broker
from stomp_web.flask import message_sent
from stomp_web.worker import ReceivedMessage, Worker

if typing.TYPE_CHECKING:
    from flask import Flask

ORDERS, AUDIT = "/queue/orders", "/queue/audit"
DEADLINE = 60.0  # seconds for each single step, on a busy machine; the whole takes less than two
TEMPORARY = Path(__file__).parent / "flask_app" / "instance"

Handler = typing.Callable[[ReceivedMessage], None]
#: The messages that the worker is done with, and what it has to say.
Arrivals = queue.Queue[ReceivedMessage | logging.LogRecord]


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
        app = make_web_application(stack, self.broker.url, self.receipts)
        self.site, server = start_server(stack, app, port)
        say(f"Application  {self.site}  example_apps/flask_app, served by {server}")

        self.arrivals: Arrivals = queue.Queue()
        start_worker(stack, app, self.broker, self.arrivals)
        say(f"Worker       {ORDERS} and {AUDIT}, with the handlers of example_apps/flask_app")
        self.arrived: list[ReceivedMessage] = []
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # straight to this machine

    def run(self) -> None:
        """Place orders, and check that each message arrives once, and is handled."""
        self.step("Ada orders two packets of espresso beans")
        self.place("Ada Lovelace", "Espresso beans, 250 g", 2)
        self.show_arrivals("Ada Lovelace")
        self.show_handled()

        self.step("Somebody tries to smuggle HTML into the page")
        page = self.place("<script>alert(1)</script>", "Green tea, 100 g", 1)
        expect("<script>" not in page, "the page must show the name as text")
        self.show_arrivals("<script>alert(1)</script>")
        self.show_handled()

        self.step("The broker drops the connection as the next order comes in")
        self.broker.faults.drop("SEND")
        page = self.place("Grace Hopper", "Hand grinder", 1, confirmed=False)
        expect("Try again" in page, "the page must offer to try again")

        self.step('Grace presses "Try again"')
        order_id = re.findall(r"/orders/(\d+)/announce", page)[0]
        self.post(f"/orders/{order_id}/announce", {})
        self.show_arrivals("Grace Hopper")
        self.show_handled()
        self.compare()

    def compare(self) -> None:
        """Compare what was confirmed with what has arrived, and with what was acknowledged."""
        confirmed, arrived = sorted(self.receipts), sorted(message.id for message in self.arrived)
        expect(confirmed == arrived, f"confirmed: {confirmed}, but arrived: {arrived}")
        acknowledged = self.broker.wait_until(lambda: self.broker.received("ACK") == len(arrived), DEADLINE)
        expect(acknowledged, "the worker must acknowledge each message")
        expect(self.arrivals.empty(), "more has arrived than was sent")
        seconds = time.monotonic() - self.began
        count = len(arrived)
        say(
            f"\nOK: 3 orders, {count} messages confirmed by the broker, {count} arrived at the worker, each once; "
            "all orders handled."
        )
        say(f"It took {seconds:.1f} s.")

    def keep_running(self) -> None:
        """Show what arrives until Ctrl-C."""
        say(f"\nOpen {self.site}/ in a browser and order something: the messages appear here.")
        say("From another terminal, in this folder, you can send something yourself, and see what becomes of it:")
        say(f"  STOMP_URL={self.broker.url} .venv/bin/stomp-web send /queue/orders hello")
        say("Press Ctrl-C to stop it all.")
        while True:
            with contextlib.suppress(queue.Empty):
                arrival = self.arrivals.get(timeout=3600)
                if isinstance(arrival, logging.LogRecord):
                    say("\n  The worker says:")
                    for line in arrival.getMessage().splitlines():
                        say(f"    {printable(line)}")
                else:
                    self.show(arrival, patience=0.1)

    # -- the steps --------------------------------------------------------------------------------------------

    def step(self, title: str) -> None:
        say(f"\n--- {title}")

    def place(self, customer: str, item: str, quantity: int, confirmed: bool = True) -> str:
        page = self.post("/orders", {"customer": customer, "item": item, "quantity": str(quantity)})
        expect(("is saved and announced" in page) == confirmed, f"the page says: {notice(page)}")
        return page

    def post(self, path: str, form: dict[str, str]) -> str:
        """Send a form as a browser does, and return the page that it ends on."""
        page = self.open("POST", path, urllib.parse.urlencode(form).encode())
        say(f"The page says: {notice(page)}")
        return page

    def open(self, method: str, path: str, body: bytes | None = None) -> str:
        began = time.monotonic()
        request = urllib.request.Request(self.site + path, body, method=method)
        with self.opener.open(request, timeout=DEADLINE) as response:
            page = str(response.read().decode())
        say(f"{method} {path}  {response.status} after {(time.monotonic() - began) * 1000:.1f} ms")
        return page

    def show_arrivals(self, customer: str) -> None:
        """Show the two messages of one order, and make sure that they are those."""
        for destination in (ORDERS, AUDIT):
            try:
                message = self.arrivals.get(timeout=DEADLINE)
            except queue.Empty:
                raise DemoFailed(f"no message arrived from {destination} within {DEADLINE:g} s") from None
            if isinstance(message, logging.LogRecord):
                raise DemoFailed(f"the worker says: {message.getMessage()}")
            self.arrived.append(message)
            self.show(message)
            expect(message.destination == destination, f"this should have come from {destination}")
            if destination == ORDERS:
                expect(message.payload["customer"] == customer, f"this should be the order of {customer}")

    def show_handled(self) -> None:
        """Show what the page says of the newest order now. Its handlers have returned."""
        say("")
        page = self.open("GET", "/")
        newest = words(page, r"<li>.*?</li>")
        found = re.search(r"no\. (\d+) .* in the books .*(handled .* UTC)", newest)
        if found is None:
            raise DemoFailed(f"the page must show the order as handled, but it says: {newest}")
        say(f"The page says of order {found[1]}: {found[2]}")

    def show(self, message: ReceivedMessage, patience: float = DEADLINE) -> None:
        """Print a message as it came to its handler, and what the broker had confirmed to its sender."""
        say(f"\n  Message from {message.destination}")
        for name, value in message.headers.items():
            if name != "destination":
                say(f"    {name}: {printable(value)}")
        say("")
        for line in body_text(message).splitlines():
            say(f"    {line}")
        say(f"\n    {self.receipts.text(message.id, patience)}")


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


def make_web_application(stack: contextlib.ExitStack, url: str, receipts: Receipts) -> Flask:
    """Return the Flask example, with a database of its own."""
    TEMPORARY.mkdir(exist_ok=True)
    folder = stack.enter_context(tempfile.TemporaryDirectory(dir=TEMPORARY, prefix=f"demo-{os.getpid()}-"))
    app = create_app({"STOMP_URL": url, "DATABASE": Path(folder) / "orders.sqlite3"})
    stack.callback(app.extensions["stomp"].close)
    stack.enter_context(message_sent.connected_to(receipts.note, app))
    return app


def start_server(stack: contextlib.ExitStack, app: Flask, port: int) -> tuple[str, str]:
    """Serve *app* from a thread; return its address and the server's name.

    That is waitress if it is installed, and the server that comes with Flask if not.
    """
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


def start_worker(stack: contextlib.ExitStack, app: Flask, broker: Broker, arrivals: Arrivals) -> None:
    """Run the example's handlers in a thread, as ``flask stomp worker`` does in a program of its own."""
    talk = logging.handlers.QueueHandler(arrivals)  # shown between the messages, and not in the middle of one
    talk.setLevel(logging.WARNING)
    log = logging.getLogger("stomp_web.worker")
    log.addHandler(talk)
    stack.callback(log.removeHandler, talk)

    worker = Worker(broker.url, concurrency=1, around=app.app_context)
    # Also what is no order can be sent here, to see what becomes of it.
    worker.subscribe(ORDERS, accept=("json", "text", "bytes"))(told(handle_order, arrivals))
    worker.subscribe(AUDIT, accept=("pickle",))(told(book_order, arrivals))
    serve(stack, "worker", worker.run, worker.stop)
    ready = broker.wait_until(lambda: broker.subscribers(ORDERS) and broker.subscribers(AUDIT), DEADLINE)
    expect(ready, "the worker has not subscribed")


def told(handler: Handler, arrivals: Arrivals) -> Handler:
    """Return *handler*, which then also puts each message that it is done with among the *arrivals*."""

    @functools.wraps(handler)
    def handle(message: ReceivedMessage) -> None:
        try:
            handler(message)
        finally:
            arrivals.put(message)

    return handle


# ---------------------------------------------------------------------------------------------------- what is printed


def body_text(message: ReceivedMessage) -> str:
    """The payload for people."""
    content_type = message.headers.get("content-type", "")
    if content_type == "application/json":
        return json.dumps(message.payload, indent=2, ensure_ascii=False)
    if isinstance(message.payload, str):
        return "\n".join(map(printable, message.payload.splitlines()))
    note = f"({len(message.body)} bytes of pickle, which hold:)\n" if "python" in content_type else ""
    return note + pprint.pformat(message.payload, sort_dicts=False)


def notice(page: str) -> str:
    """The words of the page's notice."""
    return words(page, r'<div class="notice.*?</div>') or "nothing"


def words(page: str, pattern: str) -> str:
    """The words of the first part of the page that fits the pattern."""
    found = re.search(pattern, page, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[0])).split()) if found else ""


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
