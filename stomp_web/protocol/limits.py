"""The default limits of receiving clients. A message within them is received whole.

The limits on headers are twice those of a `FrameBuffer`, and so of the development broker: a broker adds headers of its
own, and another version of STOMP writes some characters as two.
"""

from __future__ import annotations

import typing

__all__ = ["MAX_BODY_BYTES", "MAX_HEADERS", "MAX_HEADER_BYTES"]

#: Bytes of the command and all header lines.
MAX_HEADER_BYTES: typing.Final = 131_072
#: Header lines.
MAX_HEADERS: typing.Final = 2_000
#: Bytes of the body: RabbitMQ's own limit.
MAX_BODY_BYTES: typing.Final = 134_217_728
