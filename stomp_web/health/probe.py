"""Makes the HTTP answer to a health probe. The input is the head of the HTTP request. This module does no I/O."""

from __future__ import annotations

import http
import typing

from .._internal.log import get_logger
from .report import ALLOWED, HEADERS, PATH, Report, error_body, paths_below

__all__ = ["LONGEST_HEAD", "answer", "is_complete"]

_log = get_logger("health")

#: The most bytes that the head of a request may have.
LONGEST_HEAD: typing.Final = 16_384

_PATHS: typing.Final = paths_below(PATH)


def is_complete(data: bytes | bytearray) -> bool:
    """Whether *data* holds the whole head of a request, or more bytes than a head may have."""
    return b"\r\n\r\n" in data or b"\n\n" in data or len(data) > LONGEST_HEAD


def answer(data: bytes | bytearray, report: typing.Callable[[], Report]) -> bytes:
    """Return the answer to the request *data*. The connection ends after the answer.

    Before the call, the caller must read until ``is_complete(data)`` is true.

    *report* is called only for a valid probe. If *report* raises, the exception is logged, and the answer is 500.
    """
    if len(data) > LONGEST_HEAD and not is_complete(data[:LONGEST_HEAD]):
        return _response(431, error_body(f"the head of a request must not exceed {LONGEST_HEAD} bytes"))
    words = bytes(data).partition(b"\n")[0].split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _response(400, error_body("this is no request of HTTP/1.1"))
    method, target = words[0].decode("latin-1"), words[1].decode("latin-1")
    live_only = _PATHS.get(_path_of(target))
    if live_only is None:
        return _response(404, error_body(f"there is {', '.join(_PATHS)}, and no other path"), method)
    if method not in ALLOWED:
        return _response(405, error_body("a health check is a GET or HEAD request"), method)
    try:
        made = report()
        return _response(made.status(live_only), made.body(live_only), method)
    except Exception:  # noqa: BLE001 - a function of the program may raise anything
        _log.exception("the health of the program could not be determined")
        return _response(500, error_body("the health of the program could not be determined; the log has the error"))


def _path_of(target: str) -> str:
    """Return the path of a request's *target*, which may be a whole URL and may have a query."""
    if "://" in target:
        target = "/" + target.partition("://")[2].partition("/")[2]
    return target.partition("?")[0]


def _response(status: int, body: bytes, method: str = "GET") -> bytes:
    headers = {**HEADERS, "Content-Length": str(len(body)), "Connection": "close"}
    if status == 405:
        headers["Allow"] = ", ".join(ALLOWED)
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else body)
