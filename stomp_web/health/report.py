"""`Report`: whether a program is live and ready, and the answer to a probe.

This module does no I/O, and needs no web framework.
"""

from __future__ import annotations

import dataclasses
import json
import typing

__all__ = ["ALLOWED", "HEADERS", "LIVE", "PATH", "Report", "error_body", "paths_below"]

#: The path of the answers, unless another path was chosen.
PATH: typing.Final = "/healthz"
#: The methods that a probe may use.
ALLOWED: typing.Final = ("GET", "HEAD")
#: The headers of each answer.
HEADERS: typing.Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The state of a program.

    * `live` - whether the program works, or will work again by itself.
    * `ready` - whether the program can do its work now. ``None`` means that readiness was not checked.
    * `reason` - why the program is not live or not ready, otherwise empty. It contains no address and no secret.
    * `details` - more members for the JSON text that `body` returns.
    """

    live: bool = True
    ready: bool | None = None
    reason: str = ""
    details: typing.Mapping[str, typing.Any] = dataclasses.field(default_factory=dict)

    def status(self, live_only: bool = False) -> int:
        """Return the HTTP status: 503 if `live` is false or `ready` is false, otherwise 200.

        A `ready` of ``None`` counts as true. If *live_only* is true, `ready` does not matter.
        """
        return 200 if self.live and (live_only or self.ready is not False) else 503

    def body(self, live_only: bool = False) -> bytes:
        """Return the JSON text, with a line end.

        If ``status(live_only)`` returns 200, the member ``status`` has the value ``ok``. Otherwise, the value of this
        member is ``unavailable``.
        """
        status = "ok" if self.status(live_only) == 200 else "unavailable"
        members: dict[str, typing.Any] = {"status": status, "live": self.live}
        if self.ready is not None:
            members["ready"] = self.ready
        if self.reason:
            members["reason"] = self.reason
        return _json({**members, **self.details})


#: The answer of a web application that can answer.
LIVE: typing.Final = Report()


def paths_below(path: str) -> dict[str, bool]:
    """Return a dict with the paths of the probes: *path*, ``<path>/ready`` and ``<path>/live``.

    The value of ``<path>/live`` is true, because this probe only asks whether the program is live. The others are
    false.
    """
    return {path: False, f"{path}/ready": False, f"{path}/live": True}


def error_body(reason: str) -> bytes:
    """Return the JSON text for a request that is no valid probe, or for a health check that has raised an exception."""
    return _json({"status": "error", "reason": reason})


def _json(members: typing.Mapping[str, typing.Any]) -> bytes:
    return json.dumps(members).encode() + b"\n"
