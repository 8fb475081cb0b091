"""The sink: a server in a process of its own, which takes every frame and counts it. ``python -m benchmarks.sink``.

It is one thread with one epoll, so that nobody waits for a lock, and its loop does as little as it can. Two ports:

* The *counting* port is for unconfirmed runs: it counts NULs at C speed and looks at nothing else, but for the very
  last frame of what has arrived, which may ask for the receipt that ends a run.
* The *answering* port finds each frame, and answers each receipt at once (several in one write when several came). For
  a subscription it makes MESSAGE frames ready; it sends them in large writes, as fast as they are taken, from the
  moment at which somebody sends a message to `frames.GO`.

Bodies hold no NUL here, so a NUL is the end of a frame. What is counted since the last ``reset`` is told as JSON on
standard output for each line ``taken`` on standard input. The end of standard input ends the process.
"""

from __future__ import annotations

import collections
import json
import os
import select
import signal
import socket
import sys

from benchmarks.frames import GO, message_frames

# Its name is that of no broker, so that no client falls into a dialect. It sends no heart-beats, and wants one a minute
# (stompman writes line ends in an endless loop to a server that wants none).
CONNECTED = b"CONNECTED\nversion:1.2\nserver:stomp-web-sink\nheart-beat:0,60000\n\n\0"
RECEIPT = b"RECEIPT\nreceipt-id:%b\n\n\0"
LONGEST_HEAD = 1024  # bytes
LONGEST_REST = 8192  # bytes of an incomplete frame that are kept; of a longer one only its receipt is
BLOCK = 262_144  # bytes: one write of MESSAGE frames

buffer = bytearray(1_048_576)
view = memoryview(buffer)


# The subscriptions whose messages wait for the word to go, and these.
ready: list[tuple[Connection, list[bytes]]] = []


class Counts:
    """What has come, and what was sent, since the last ``reset``."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        ready.clear()
        self.sends = self.acks = self.messages = self.strange = 0

    def as_dict(self) -> dict[str, int]:
        return {"sends": self.sends, "acks": self.acks, "messages": self.messages, "strange": self.strange}


counts = Counts()
GO_HEADER = b"\ndestination:%b\n" % GO.encode()


class Connection:
    """One connection. `outgoing` is what the socket did not take at once."""

    def __init__(self, connected: socket.socket, epoll: select.epoll) -> None:
        self.socket = connected
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.epoll = epoll
        self.outgoing: collections.deque[memoryview] = collections.deque()
        epoll.register(connected.fileno(), select.EPOLLIN)

    def readable(self) -> bool:
        """Take what has arrived; return whether the connection goes on."""
        try:
            received = self.socket.recv_into(buffer)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if received:
            self.take(received)
        return bool(received)

    def take(self, received: int) -> None:
        """Count and answer the first *received* bytes of the buffer."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        if not self.outgoing:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the end is seen by the next look
            if sent == len(data):
                return
            data = data[sent:]
            self.epoll.modify(self.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        self.outgoing.append(memoryview(data))

    def writable(self) -> None:
        while self.outgoing:
            try:
                sent = self.socket.send(self.outgoing[0])
            except BlockingIOError:
                return
            except OSError:
                self.outgoing.clear()
                break
            if sent < len(self.outgoing[0]):
                self.outgoing[0] = self.outgoing[0][sent:]
            else:
                self.outgoing.popleft()
        self.epoll.modify(self.socket.fileno(), select.EPOLLIN)


class Counting(Connection):
    """Counts frames by their NULs. `tail` is the end of what has come; `sparse`, that NULs are far apart."""

    def __init__(self, connected: socket.socket, epoll: select.epoll) -> None:
        super().__init__(connected, epoll)
        self.tail = b""
        self.sparse = False

    def take(self, received: int) -> None:
        if self.sparse:
            found, position, find = 0, 0, buffer.find
            while (position := find(0, position, received) + 1) > 0:
                found += 1
        else:
            found = buffer.count(0, 0, received)
        self.sparse = found < received // 4096
        counts.sends += found
        tail = bytes(view[max(received - LONGEST_HEAD, 0) : received])
        if len(tail) < LONGEST_HEAD:
            tail = (self.tail + tail)[-LONGEST_HEAD:]
        self.tail = tail
        tail = tail.rstrip(b"\n")  # heart-beats
        start = tail.rfind(b"\0", 0, -1) + 1
        if found and tail.endswith(b"\0") and (start or len(tail) < LONGEST_HEAD):
            self.look_at(tail[start:].lstrip(b"\r\n"))

    def look_at(self, frame: bytes) -> None:
        """The last frame that came, if it is short enough to be seen whole."""
        receipt = receipt_of(frame, 0, len(frame))
        if not frame.startswith(b"SEND\n"):
            if frame.startswith((b"CONNECT\n", b"STOMP\n")):
                counts.sends -= 1
                self.write(CONNECTED)
                return
            if frame.startswith(b"DISCONNECT\n"):
                counts.sends -= 1
            elif receipt is not None or b"\n\n" in frame:
                counts.strange += 1
        if receipt is not None:
            self.write(RECEIPT % receipt)


class Answering(Connection):
    """Finds each frame. `inside` is the receipt (or nothing, ``b""``) of a long frame whose end has not come yet."""

    def __init__(self, connected: socket.socket, epoll: select.epoll) -> None:
        super().__init__(connected, epoll)
        self.rest = b""
        self.inside: bytes | None = None

    def take(self, received: int) -> None:
        data = self.rest + view[:received] if self.rest else bytes(view[:received])
        find, startswith = data.find, data.startswith
        answers: list[bytes] = []
        start = 0
        if self.inside is not None:
            end = find(b"\0")
            if end < 0:
                return
            if self.inside:
                answers.append(RECEIPT % self.inside)
            self.inside = None
            start = end + 1
        while (end := find(b"\0", start)) >= 0:
            if startswith(b"SEND\n", start):
                counts.sends += 1
                at = find(b"\nreceipt:", start, min(end, start + LONGEST_HEAD))
                if at >= 0:
                    answers.append(RECEIPT % data[at + 9 : find(b"\n", at + 9)])
                if ready and find(GO_HEADER, start, end) >= 0:
                    self.go()
            else:
                self.other(data[start:end].lstrip(b"\r\n"), answers)
            start = end + 1
        self.rest = data[start:]
        if len(self.rest) > LONGEST_REST and self.rest.startswith(b"SEND\n"):
            counts.sends += 1
            self.inside = receipt_of(self.rest, 0, LONGEST_HEAD) or b""
            self.rest = b""
        if answers:
            self.write(answers[0] if len(answers) == 1 else b"".join(answers))

    def other(self, frame: bytes, answers: list[bytes]) -> None:
        """A frame that is no SEND, or one after a heart-beat."""
        receipt = receipt_of(frame, 0, len(frame))
        command = frame.partition(b"\n")[0]
        if command in (b"CONNECT", b"STOMP"):
            answers.append(CONNECTED)
        elif command == b"SEND":
            counts.sends += 1
        elif command == b"ACK":
            counts.acks += 1
        elif command not in (b"SUBSCRIBE", b"UNSUBSCRIBE", b"DISCONNECT", b"BEGIN", b"ABORT", b"COMMIT"):
            counts.strange += 1
        if command == b"SUBSCRIBE":
            self.make_ready(frame)
        if receipt is not None:
            answers.append(RECEIPT % receipt)

    def make_ready(self, frame: bytes) -> None:
        """Make the messages that the destination of a SUBSCRIBE names (`frames.receiving_destination`)."""
        head = dict(line.split(b":", 1) for line in frame.split(b"\n\n")[0].split(b"\n")[1:])
        number, size = (int(part) for part in head[b"destination"].split(b".")[1:])
        frames = message_frames(number, size, head[b"id"], head.get(b"ack", b"auto") != b"auto")
        counts.messages += number
        each = max(BLOCK // len(frames[0]), 1)
        ready.append((self, [b"".join(frames[first : first + each]) for first in range(0, number, each)]))

    def go(self) -> None:
        """Send the messages that are ready."""
        for connection, data in ready:
            for block in data:
                connection.write(block)
        ready.clear()


def receipt_of(data: bytes, start: int, end: int) -> bytes | None:
    """The value of the receipt header of the frame between *start* and *end*, as it was written."""
    at = data.find(b"\nreceipt:", start, min(end, start + LONGEST_HEAD))
    return None if at < 0 else data[at + 9 : data.find(b"\n", at + 9)]


def serve(orders: int, replies: int) -> None:
    """Serve until the descriptor *orders* ends."""
    epoll = select.epoll()
    listeners: dict[int, tuple[socket.socket, type[Connection]]] = {}
    ports = {}
    for name, kind in (("counting", Counting), ("answering", Answering)):
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        listeners[listener.fileno()] = (listener, kind)
        ports[name] = listener.getsockname()[1]
        epoll.register(listener.fileno(), select.EPOLLIN)
    epoll.register(orders, select.EPOLLIN)
    os.write(replies, json.dumps(ports).encode() + b"\n")

    connections: dict[int, Connection] = {}
    while True:
        for descriptor, event in epoll.poll():
            connection = connections.get(descriptor)
            if connection is not None:
                if event & select.EPOLLOUT:
                    connection.writable()
                if event & ~select.EPOLLOUT and not connection.readable():
                    del connections[descriptor]
                    epoll.unregister(descriptor)
                    connection.socket.close()
            elif descriptor in listeners:
                listener, kind = listeners[descriptor]
                accepted, _ = listener.accept()
                connections[accepted.fileno()] = kind(accepted, epoll)
            elif not answer_orders(orders, replies):
                return


def answer_orders(orders: int, replies: int) -> bool:
    lines = os.read(orders, 4096)
    for line in lines.split():
        taken = counts.as_dict()
        if line == b"reset":
            counts.reset()
        os.write(replies, json.dumps(taken).encode() + b"\n")
    return bool(lines)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    serve(sys.stdin.fileno(), sys.stdout.fileno())
