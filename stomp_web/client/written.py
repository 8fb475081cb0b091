"""What of a write has left when it ends in the middle.

A broker takes a frame once it has all of it, up to the NUL at its end (STOMP 1.2, "Augmented BNF"). So a message whose
frame did not leave whole was not sent, also where the broker has got most of it. What has left are the bytes that the
operating system took. Over TLS they are those of complete records: of a record that is under way the other side cannot
read a byte (see `Transport.send_some`).
"""

from __future__ import annotations

import sys

from ..connection.dialect import Dialect
from ..protocol import FrameBuffer

__all__ = ["limit_hint", "whole_frames"]


def whole_frames(data: memoryview, version: str) -> int:
    """How many complete frames there are in *data*, the beginning of some frames that were written."""
    # They are our own, and were checked when they were made.
    frames = FrameBuffer(version, max_header_bytes=sys.maxsize, max_headers=sys.maxsize, max_body_bytes=sys.maxsize)
    frames.append(data)
    return sum(1 for _ in frames)


def limit_hint(dialect: Dialect, size: int = 0) -> str:
    """A sentence about the broker's limit on the size of a frame, or ``""``.

    With a *size*, in bytes, only if that is over the limit that the broker has unless another one is set.
    """
    if dialect.frame_limit is None or 0 < size <= dialect.frame_limit:
        return ""
    return f" The broker may limit the size of a message ({dialect.frame_limit_names})."
