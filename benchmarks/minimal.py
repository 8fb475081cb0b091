"""The least that can be called a codec: find, split, slice. It checks nothing, and is the limit for those that do.

Linear for what it is made for; header escapes, CR LF, limits and bad frames it does not know.
"""

from __future__ import annotations

Parsed = tuple[str, dict[str, str], bytes]


def encode(command: str, headers: dict[str, str], body: bytes) -> bytes:
    """The bytes of a frame."""
    lines = "".join([f"{name}:{value}\n" for name, value in headers.items()])
    return f"{command}\n{lines}content-length:{len(body)}\n\n".encode() + body + b"\0"


class Parser:
    """Takes in bytes, gives out frames.

    Of a frame whose end has not come, it keeps one of two things:

    `_rest`, the bytes since its beginning, of which `_searched` were looked through in vain for the end of a body
    without length; or its `_head`, and the `_parts` of a body of which so many bytes are `_missing`.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._head: tuple[str, dict[str, str]] | None = None
        self._parts: list[bytes] = []
        self._missing = 0

    def feed(self, chunk: bytes) -> list[Parsed]:
        """The frames that *chunk* completes."""
        if self._head is not None:
            missing = self._missing
            if len(chunk) <= missing:  # the NUL comes after the body
                self._parts.append(chunk)
                self._missing -= len(chunk)
                return []
            self._parts.append(chunk[:missing])
            frame = (*self._head, b"".join(self._parts))
            self._head = None
            self._parts = []
            return [frame, *self._cut(chunk, missing + 1)]
        if self._rest:
            rest = self._rest
            rest += chunk
            if self._searched:
                if rest.find(b"\0", self._searched) < 0:
                    self._searched = len(rest)
                    return []
            elif rest.find(b"\n\n", max(len(rest) - len(chunk) - 1, 0)) < 0:
                return []
            chunk = bytes(rest)
            rest.clear()
        return self._cut(chunk, 0)

    def _cut(self, data: bytes, start: int) -> list[Parsed]:
        frames: list[Parsed] = []
        find = data.find
        self._searched = 0
        while True:
            if data.startswith(b"\n", start):  # heart-beats, or the line end that some brokers send after a frame
                start = len(data) - len(data[start:].lstrip(b"\n"))
            head_end = find(b"\n\n", start)
            if head_end < 0:
                break
            lines = data[start:head_end].decode().split("\n")
            headers = dict([line.split(":", 1) for line in lines[1:]])  # type: ignore[misc]
            body = head_end + 2
            length = headers.get("content-length")
            if length is None:
                end = find(b"\0", body)
                if end < 0:
                    self._searched = len(data) - start
                    break
            else:
                end = body + int(length)
                if end >= len(data):
                    self._head = (lines[0], headers)
                    self._parts = [data[body:]]
                    self._missing = end - len(data)
                    return frames
            frames.append((lines[0], headers, data[body:end]))
            start = end + 1
        if start < len(data):
            self._rest += memoryview(data)[start:]
        return frames
