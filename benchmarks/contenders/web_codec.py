"""stomp-web's codec: `encode` and `FrameBuffer`."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.contenders.parsing import Parsing
from benchmarks.frames import CONTENT_TYPE, HEADERS, body
from stomp_web import Frame, FrameBuffer
from stomp_web.protocol import encode

ENOUGH = 1 << 30  # bytes: no limit is to end a measurement


class Codec(Parsing):
    """Frames and a buffer, without a socket."""

    def encoder(self, case: Case) -> Callable[[], bytes]:
        content = body(case.size)
        headers = {"destination": case.destination, **HEADERS, "content-type": CONTENT_TYPE}
        return lambda: encode(Frame("SEND", headers, content))

    def feeder(self, case: Case) -> Callable[[list[bytes]], int]:
        limits = {"max_header_bytes": ENOUGH, "max_body_bytes": ENOUGH} if case.task == "hostile" else {}
        buffer = FrameBuffer(**limits)
        append, extract = buffer.append, buffer.extract_frame

        def feed_all(chunks: list[bytes]) -> int:
            frames = 0
            for chunk in chunks:
                append(chunk)
                while extract() is not None:
                    frames += 1
            return frames

        return feed_all
