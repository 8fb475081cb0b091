"""Coverage-guided fuzzing of the frame buffer, with atheris.

    pip install atheris
    python -m fuzz.buffer -max_total_time=600 -max_len=4096

For any bytes, cut anywhere, in any version: only `ProtocolError` is raised; the frames do not depend on the cuts; the
bytes that are kept stay within the limits; a frame can be written and read again. It also prints how many bytes it fed.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["stomp_web"]):
    from stomp_web.errors import ProtocolError
    from stomp_web.protocol import VERSIONS, Frame, FrameBuffer, encode

MAX_HEADER_BYTES = 256
MAX_BODY_BYTES = 512

_fed = {"inputs": 0, "bytes": 0, "frames": 0, "refusals": 0, "most_kept": 0}


def read(version: str, pieces: list[bytes], *, tolerant: bool) -> tuple[list[Frame], bool]:
    """The frames in *pieces*, and whether the buffer refused what came after them."""
    buffer = FrameBuffer(
        version,
        max_header_bytes=MAX_HEADER_BYTES,
        max_headers=20,
        max_body_bytes=MAX_BODY_BYTES,
        tolerant=tolerant,
    )
    # A tolerant one keeps the line that has begun, and needed headers beyond the limit.
    most = MAX_HEADER_BYTES * (3 if tolerant else 1) + MAX_BODY_BYTES
    frames: list[Frame] = []
    for piece in pieces:
        buffer.append(piece)
        try:
            frames += buffer  # those before a malformed one count
        except ProtocolError:
            return frames, True
        _fed["most_kept"] = max(_fed["most_kept"], len(buffer))
        assert len(buffer) <= most + len(piece) + 4, len(buffer)
    return frames, False


def test_one_input(data: bytes) -> None:
    """One input of the fuzzer: its first bytes choose the version and the cuts, the rest is the stream."""
    provider = atheris.FuzzedDataProvider(data)
    version = VERSIONS[provider.ConsumeIntInRange(0, len(VERSIONS) - 1)]
    step = provider.ConsumeIntInRange(1, 64)
    tolerant = provider.ConsumeBool()
    stream = provider.ConsumeBytes(provider.remaining_bytes())
    frames, refused = read(version, [stream], tolerant=tolerant)
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]
    cut, cut_refused = read(version, pieces, tolerant=tolerant)
    assert (frames, refused) == (cut, cut_refused)
    assert [frame.defects for frame in frames] == [frame.defects for frame in cut]
    if tolerant:
        strict, _ = read(version, [stream], tolerant=False)
        assert frames[: len(strict)] == strict
    for frame in frames:
        if frame.defects:
            continue  # what was left out or replaced cannot be written as it came
        try:
            written = encode(frame, version)
        except ProtocolError:
            continue  # what may be read is not always what may be written: a CR in STOMP 1.1, a body of a 1.0 SUBSCRIBE
        # Written anew it may be longer: encode adds a content-length. So it is read without the small limits.
        again = FrameBuffer(version)
        again.append(written)
        assert list(again) == [frame]
    _fed["inputs"] += 1
    _fed["bytes"] += 2 * len(stream)
    _fed["frames"] += len(frames)
    _fed["refusals"] += refused
    if _fed["inputs"] % 20_000 == 0:  # libFuzzer ends the process without a last word
        print(", ".join(f"{name}: {count:,}" for name, count in _fed.items()), flush=True)


def write_seeds(folder: pathlib.Path) -> None:
    """Real frames to begin with, for each version, in several cuts."""
    streams = [
        encode(Frame("CONNECTED", {"version": "1.2", "server": "RabbitMQ/3.10.8", "heart-beat": "0,0"})) + b"\n",
        encode(Frame("MESSAGE", {"destination": "/queue/a", "a:b": "c\\d\n"}, b"x\0y")) + b"\n\n\r\n",
        b"MESSAGE\nack:1\na\xff:\0\n:x\nbad\nlong:" + b"x" * 300 + b"\ncontent-length:2\n\n\0\0\0",
        b"RECEIPT\r\nreceipt-id:1\r\n\r\n\0\r\nERROR\nmessage:no\n\nbecause\0\n",
    ]
    for number, stream in enumerate(streams):
        for version in range(len(VERSIONS)):
            for step in (0, 6, 63):
                # FuzzedDataProvider takes its integers from the end of the input.
                for tolerant in (0, 1):
                    seed = stream + bytes((tolerant, step, version))
                    (folder / f"{number}-{version}-{step}-{tolerant}").write_bytes(seed)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        write_seeds(pathlib.Path(corpus))
        atheris.Setup([*sys.argv, corpus], test_one_input)
        atheris.Fuzz()
