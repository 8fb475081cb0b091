"""The HTTP requests to the page: for a file, the stream of events, a message or an action.

============================  ========================================================================================
``GET /``, ``/page.js`` ...   The files of the page.
``GET /events``               Server-sent events: ``hello``, then ``message`` and ``state``. The parameters ``text`` and
                              ``destination`` filter the messages. To continue a stream, set ``after`` to the
                              id of the last received event.
``GET /messages/NUMBER``      One message with its whole kept body, decoded.
``POST /send``                Send a message: ``destination``, ``headers`` and ``body``.
``POST /send-again``          Send the kept message ``number`` again.
``POST /fault``               Switch on a fault: ``name`` and its parameters.
``POST /cancel``              Switch off the fault ``number``.
``POST /clear-faults``        Switch off all faults.
``POST /forget``              Drop all messages of the broker, and of the page.
============================  ========================================================================================

A POST and its answer are JSON objects. In the answer, ``done`` says what was done, or ``error`` says what is wrong.
"""

from __future__ import annotations

import http.server
import importlib.resources
import json
import selectors
import time
import typing
import urllib.parse

from ..messages import log
from .access import HEADERS
from .decode import guess, preview, show
from .feed import Kept, Search

if typing.TYPE_CHECKING:
    from .server import Server

__all__ = ["Handler"]

_FILES: typing.Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
_MAX_REQUEST = 4_194_304  # bytes of the body of a POST
_MAX_SEARCH = 1_000  # characters
_AT_ONCE = 100  # messages that are searched and written in one step
_PAUSE = 0.15  # seconds between two looks for new messages
_BEAT = 15.0  # seconds after which a silent stream gets a comment, so that a dead connection is noticed


class _Refused(Exception):
    """The request is refused. *status* is the HTTP status of the answer, and *sentence* is the error text."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request, and closes the connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30.0  # seconds for reading a request, and for writing to a browser that does not read

    def do_GET(self) -> None:
        """Answer with a file, a message or the stream of events."""
        path, _, query = self.path.partition("?")
        try:
            self._check(writes=False, is_page=path == "/")
            if path in _FILES:
                name, kind = _FILES[path]
                self._answer(200, kind, importlib.resources.files(__package__).joinpath(name).read_bytes())
            elif path == "/events":
                self._stream(urllib.parse.parse_qs(query))
            elif path.startswith("/messages/"):
                self._answer_json(200, self._message(path.removeprefix("/messages/")))
            else:
                raise _Refused(404, f"there is no {path[:100]!r} here")
        except _Refused as refused:
            self._answer_json(refused.status, {"error": str(refused)})

    def do_POST(self) -> None:
        """Carry out the action that the path names, such as ``/send``, and answer with a JSON object."""
        actions: dict[str, typing.Callable[[dict[str, typing.Any]], str]] = {
            "/send": self._send,
            "/send-again": self._send_again,
            "/fault": self.server.page.apply_fault,
            "/cancel": self._cancel,
            "/clear-faults": self._clear_faults,
            "/forget": self._forget,
        }
        try:
            body = self._body()
            self._check(writes=True, is_page=False)
            if self.path not in actions:
                raise _Refused(404, f"there is no {self.path[:100]!r} here")
            try:
                given = json.loads(body)
            except (ValueError, RecursionError):
                raise _Refused(400, "the request is not JSON") from None
            if not isinstance(given, dict):
                raise _Refused(400, "the request is not a JSON object")
            self._answer_json(200, {"done": actions[self.path](given)})
        except _Refused as refused:
            self._answer_json(refused.status, {"error": str(refused)})
        except (ValueError, OSError) as error:  # what the broker, a fault or the listening socket says
            self._answer_json(400, {"error": str(error)})

    # -- requests and answers -----------------------------------------------------------------------------------

    def _check(self, *, writes: bool, is_page: bool) -> None:
        reason = self.server.access.refusal(self.headers, writes=writes, is_page=is_page)
        if reason is not None:
            raise _Refused(403, f"refused: {reason}")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            raise _Refused(411, "a POST must have a Content-Length")
        if int(length) > _MAX_REQUEST:
            raise _Refused(413, f"a request has at most {_MAX_REQUEST} bytes; send larger messages with a client")
        return self.rfile.read(int(length))

    def _answer_json(self, status: int, value: dict[str, typing.Any]) -> None:
        self._answer(status, "application/json", json.dumps(value).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self._begin(status, kind, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _begin(self, status: int, kind: str, headers: dict[str, str] | None = None) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in {"Content-Type": kind, **HEADERS, **(headers or {}), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that `http.server` itself refuses."""
        self._answer_json(code, {"error": message or "this request cannot be answered"})

    def version_string(self) -> str:
        """Return the ``Server`` header."""
        return "stomp-web"

    def log_message(self, format: str, *args: typing.Any) -> None:
        """Write a log line of `http.server` to the broker's log."""
        log.debug("page: " + format, *args)

    # -- the stream ---------------------------------------------------------------------------------------------

    def _stream(self, query: dict[str, list[str]]) -> None:
        text, destination = (query.get(name, [""])[0] for name in ("text", "destination"))
        if len(text) > _MAX_SEARCH or len(destination) > _MAX_SEARCH:
            raise _Refused(400, f"a search has at most {_MAX_SEARCH} characters")
        page = self.server.page
        search = Search(text, page.selector(destination) if destination else None)
        # After a lost connection, the browser sends the header. The script of the page sends the parameter.
        run, _, last = self.headers.get("Last-Event-ID", query.get("after", [""])[0]).partition("-")
        cursor = int(last) if run == page.run and last.isascii() and last.isdigit() and len(last) < 20 else 0
        with page.viewer() as admitted:
            if not admitted:
                raise _Refused(503, "too many pages are open; close one")
            self._begin(200, "text/event-stream; charset=utf-8")
            self._write(["retry: 1000\n", _event("hello", {**page.facts(), "continues": cursor > 0})])
            self._follow(search, cursor)

    def _follow(self, search: Search, cursor: int) -> None:
        page, state, forgotten, wrote = self.server.page, "", self.server.page.forgotten, time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            pause = 0.0
            # A browser sends nothing more: what can be read is the end of the connection, also when the page stops.
            while not selector.select(pause) and not page.stopping.is_set():
                began = time.thread_time()
                events = []
                if forgotten != page.forgotten:
                    forgotten = page.forgotten
                    events.append(_event("forget", {}))
                batch = page.after(cursor, _AT_ONCE)
                if batch:
                    events += self._message_events(search, batch, cursor)
                    cursor = batch[-1].number
                if (text := page.status.text()) is not state:
                    state = text
                    events.append(f"event: state\ndata: {text}\n\n")
                if not events and time.monotonic() > wrote + _BEAT:
                    events.append(":\n\n")
                if events:
                    self._write(events)
                    wrote = time.monotonic()
                # At most a fifth of a processor is used: the broker's thread waits for Python's lock meanwhile.
                spent = 4 * (time.thread_time() - began)
                pause = spent if len(batch) == _AT_ONCE else max(_PAUSE, spent)

    def _message_events(self, search: Search, batch: list[Kept], cursor: int) -> list[str]:
        missed = batch[0].number - 1 - cursor
        gap = [_event("gap", {"missed": missed})] if cursor and missed else []
        run = self.server.page.run
        return gap + [_event("message", _summary(kept), f"{run}-{kept.number}") for kept in batch if search.finds(kept)]

    def _write(self, events: list[str]) -> None:
        self.wfile.write("".join(events).encode())

    # -- messages and faults ------------------------------------------------------------------------------------

    def _message(self, number: str) -> dict[str, typing.Any]:
        kept = self._find(int(number) if number.isascii() and number.isdigit() and len(number) < 20 else -1)
        shown = show(kept.headers.get("content-type", ""), kept.body, cut=kept.cut)
        return {
            **_summary(kept),
            "headers": list(kept.headers.items()),
            "kind": shown.kind,
            "text": shown.text,
            "note": shown.note,
            "kept": len(kept.body),
            "raw": _text_of(kept),
        }

    def _find(self, number: object) -> Kept:
        kept = self.server.page.find(number) if type(number) is int else None
        if kept is None:
            raise _Refused(404, "this message is not kept any more")
        return kept

    def _send(self, given: dict[str, typing.Any]) -> str:
        destination, headers, body = given.get("destination"), given.get("headers", []), given.get("body", "")
        pairs = isinstance(headers, list) and all(
            isinstance(each, list) and len(each) == 2 and all(isinstance(part, str) for part in each)
            for each in headers
        )
        if not (isinstance(destination, str) and pairs and isinstance(body, str)):
            raise _Refused(400, "'destination' and 'body' must be texts, 'headers' a list of pairs of texts")
        if not destination:
            raise _Refused(400, "name a destination, such as /queue/orders")
        named: dict[str, str] = {}
        for name, value in headers:
            named.setdefault(name, value)  # STOMP: the first of repeated headers counts
        sent = self.server.page.broker.send(destination, body, named)
        return f"Sent to {destination} as {sent}."

    def _send_again(self, given: dict[str, typing.Any]) -> str:
        kept = self._find(given.get("number"))
        if kept.cut:
            raise _Refused(
                409, f"only {len(kept.body)} of the {kept.size} bytes of this message are kept; it cannot be sent again"
            )
        headers = {name: value for name, value in kept.headers.items() if name != "content-length"}
        text = None if "content-length" in kept.headers else _text_of(kept)
        sent = self.server.page.broker.send(kept.destination, kept.body if text is None else text, headers)
        return f"Sent again to {kept.destination} as {sent}."

    def _cancel(self, given: dict[str, typing.Any]) -> str:
        self.server.page.cancel_fault(given.get("number"))
        return "The fault is switched off."

    def _clear_faults(self, given: dict[str, typing.Any]) -> str:
        self.server.page.broker.faults.clear()
        return "All faults are switched off."

    def _forget(self, given: dict[str, typing.Any]) -> str:
        self.server.page.forget()
        return "All messages are dropped."

    def handle(self) -> None:
        """Answer the request. If the browser closes the connection or sends nothing, raise no exception."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            log.debug("page: a browser has closed its connection")


def _event(name: str, data: dict[str, typing.Any], id: str = "") -> str:
    """Return a server-sent event. JSON escapes every line end in *data*, so *data* cannot forge another event."""
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n"


def _summary(kept: Kept) -> dict[str, typing.Any]:
    content_type = kept.headers.get("content-type", "")
    return {
        "number": kept.number,
        "id": kept.id,
        "time": kept.time,
        "destination": kept.destination,
        "size": kept.size,
        "kind": guess(content_type, kept.body),
        "preview": preview(content_type, kept.body, kept.size),
    }


def _text_of(kept: Kept) -> str | None:
    """Return the body as editable text, or ``None`` if `Kept.body` has a NUL, is not UTF-8 or is incomplete."""
    try:
        return None if kept.cut or b"\0" in kept.body else kept.body.decode()
    except UnicodeDecodeError:
        return None
