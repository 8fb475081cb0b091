"""What an ASGI server does with an application: its lifespan, with requests in between."""

from __future__ import annotations

import asyncio
import json
import typing

from asgiref.testing import ApplicationCommunicator

PATIENCE = 60.0  # seconds for one answer


def post(app: typing.Any, bodies: dict[str, object]) -> list[int]:
    """Start *app*, post each body as JSON to its path, shut *app* down, and return the statuses of the answers."""
    return asyncio.run(_post(app, bodies))


async def _post(app: typing.Any, bodies: dict[str, object]) -> list[int]:
    lifespan = ApplicationCommunicator(app, {"type": "lifespan", "asgi": {"version": "3.0"}})
    await lifespan.send_input({"type": "lifespan.startup"})
    assert (await lifespan.receive_output(PATIENCE))["type"] == "lifespan.startup.complete"
    statuses = [await _request(app, path, json.dumps(body).encode()) for path, body in bodies.items()]
    await lifespan.send_input({"type": "lifespan.shutdown"})
    assert (await lifespan.receive_output(PATIENCE))["type"] == "lifespan.shutdown.complete"
    await lifespan.wait(PATIENCE)
    return statuses


async def _request(app: typing.Any, path: str, body: bytes) -> int:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }
    request = ApplicationCommunicator(app, scope)
    await request.send_input({"type": "http.request", "body": body, "more_body": False})
    start = await request.receive_output(PATIENCE)
    assert start["type"] == "http.response.start"
    while (await request.receive_output(PATIENCE)).get("more_body"):
        pass
    await request.wait(PATIENCE)
    return int(start["status"])
