"""Inputs that are made to hurt: each brought a parser that is in use today to its knees.

Time must be linear in their length. So each is made in two lengths, one twice the other, and the times are compared.
Both are chosen so that a processor's cache holds them: beyond it memory is slower, and what is linear does not look so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from benchmarks.frames import message_frame, message_frames

KIB, MIB = 1024, 1_048_576
HEAD = b"MESSAGE\nsubscription:sub-1\ndestination:/queue/bench\nmessage-id:1\n"
_CR_LF_FRAME = (HEAD + b"\n").replace(b"\n", b"\r\n") + b"\0"


def cut(data: bytes, size: int) -> list[bytes]:
    """*data* in chunks of *size* bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


@dataclasses.dataclass(frozen=True)
class Input:
    """One kind of input: `chunks` of a length, how many `frames` are in them, and half the length that is measured."""

    chunks: Callable[[int], list[bytes]]
    half: int
    unit: str
    one_frame: bool = True

    def frames(self, length: int) -> int:
        return 1 if self.one_frame else length

    def length_name(self, length: int) -> str:
        """*length*, for people."""
        if self.unit != "bytes":
            return f"{length} {self.unit}"
        return f"{length // MIB} MiB" if length >= MIB else f"{length // KIB} KiB"


def _with_length(content: bytes) -> bytes:
    return HEAD + b"content-length:%d\n\n" % len(content) + content + b"\0"


INPUTS: dict[str, Input] = {
    "text body, chunks of 4 KiB": Input(lambda length: cut(_with_length(b"x" * length), 4 * KIB), MIB, "bytes"),
    "body of NULs with content-length, chunks of 4 KiB": Input(
        lambda length: cut(_with_length(b"\0" * length), 4 * KIB), MIB, "bytes"
    ),
    "body without content-length, chunks of 4 KiB": Input(
        lambda length: cut(HEAD + b"\n" + b"x" * length + b"\0", 4 * KIB), MIB, "bytes"
    ),
    "heart-beats in one chunk, then a frame": Input(
        lambda length: [b"\n" * length + message_frame(1, b"1")], 100_000, "line ends"
    ),
    "heart-beats in chunks of one byte, then a frame": Input(
        lambda length: [*cut(b"\n" * length, 1), message_frame(1, b"1")], 20_000, "line ends"
    ),
    "frames of 200 B in one chunk": Input(
        lambda length: [b"".join(message_frames(length, 200))], 4_000, "frames", one_frame=False
    ),
    "frames with CR LF in one chunk, then two line ends": Input(
        lambda length: [_CR_LF_FRAME * length + b"\n\n"],
        4_000,
        "frames",
        one_frame=False,
    ),
    "body in chunks of one byte": Input(lambda length: cut(_with_length(b"x" * length), 1), 64 * KIB, "bytes"),
    "one long header line, chunks of 4 KiB": Input(
        lambda length: cut(HEAD + b"name:" + b"x" * length + b"\n\n\0", 4 * KIB), 512 * KIB, "bytes"
    ),
}
