"""A script for `tests.client.scripted.Server` that collects the messages that it gets."""

from __future__ import annotations

import contextlib

from tests.client.scripted import Peer


def collect(frames: list[tuple[dict[str, str], bytes]], server: str, version: str = "1.2"):
    """A script that takes what is sent, and answers the receipts."""

    def script(peer: Peer) -> None:
        peer.accept(version, server=server)
        with contextlib.suppress(EOFError):
            while True:
                frame = peer.frame()
                headers = dict(frame.headers)
                headers.pop("receipt", None)
                if frame.command == "SEND":
                    frames.append((headers, frame.body))
                if "receipt" in frame.headers:
                    peer.receipt(frame)

    return script
