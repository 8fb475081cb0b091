"""A socket with a deadline for every wait except the look-up of a host name. The module does not know STOMP.

* Only `wait`, `receive` and the look-up of a host name can block. The look-up has no deadline, because Python cannot
  interrupt ``getaddrinfo``.
* `close` sends nothing to the peer. A forked child closes its copies of the parent's sockets. If the child sent a TLS
  close-notify or called ``shutdown``, the session of the parent would end.
* The module uses full names such as ``socket.socket``. Therefore, gevent can patch the standard library.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import struct
import sys
import typing
import weakref

from .address import Endpoint
from .deadline import Deadline

if typing.TYPE_CHECKING:
    import ssl

__all__ = ["ESTABLISHED", "INFO", "Transport", "TransportClosed", "TransportError", "TransportTimeout", "unpack_info"]

_RECEIVE_SIZE = 65536
_RECORD_SIZE = 16384  # RFC 8446, 5.1: the largest size of a TLS record in bytes
_TO_READ = (True, False, None)  # the most frequent wait
# Seconds and microseconds (`struct timeval`). `_SHORT_WAIT` is how long a read waits in the operating system. Linux may
# round it up to `_LONGEST_WAIT` (4 ms, with a clock of 250 Hz). The wait is short because Python repeats the read after
# a signal: with a profiler's signal every 10 ms, a longer wait might never end.
_TIMEVAL = struct.Struct("@ll")
_SHORT_WAIT = (0, 1_000)
_LONGEST_WAIT = (0, 4_000)

# What Linux knows of a connection (the first 136 bytes of `struct tcp_info`, since 4.6). The first byte is the state,
# the last 8 bytes are the number of bytes that have arrived in order.
_TCP_INFO = struct.Struct("=B127xQ")
ESTABLISHED: typing.Final = 1
#: The arguments of `Transport.ask`: level, option, and the size of the result in bytes.
INFO: typing.Final = (socket.IPPROTO_TCP, getattr(socket, "TCP_INFO", 0), _TCP_INFO.size)
#: Unpacks the result of `Transport.ask`: a state and a number of bytes. Raises `struct.error` on old systems.
unpack_info = _TCP_INFO.unpack


class TransportError(Exception):
    """The connection failed. A client turns this exception into an exception about the message."""


class TransportTimeout(TransportError):
    """The deadline expired."""


class TransportClosed(TransportError):
    """The connection could not be opened, or the connection has ended."""


class Transport:
    """One connected socket, with TLS or without TLS."""

    __slots__ = (
        "__weakref__", "_at_once", "_poll", "_polled", "_reference", "_socket", "_tls", "ask", "bytes_sent", "stuck",
    )  # fmt: skip

    def __init__(self, raw: socket.socket) -> None:
        self._reference = weakref.ref(self, _close_dropped)
        _sockets[self._reference] = raw
        self._socket = raw
        self._poll: typing.Any = None
        self._polled: tuple[bool, bool, int | None] | None = None  # what `_poll` waits for now
        self._tls = not hasattr(raw, "sendmsg")  # sockets on Windows have no sendmsg either
        #: A flag that makes a call not wait, or 0 if the socket never waits. See `_let_reads_wait`.
        self._at_once = 0
        #: Asks the operating system for `INFO` about the connection, or ``None`` if the system has no such call.
        #: Without it, a publisher has 0.81 of the usual rate in one thread and 0.76 in 64 threads (CPython 3.11).
        self.ask: typing.Callable[[int, int, int], bytes] | None = None
        if sys.platform == "linux":
            # Not a partial with the arguments, which would take 200 bytes more.
            self.ask = typing.cast("typing.Callable[[int, int, int], bytes]", raw.getsockopt)
        #: The number of bytes that the operating system or the TLS layer has accepted so far.
        self.bytes_sent = 0
        #: Whether TLS holds a record that the operating system did not accept. The next write must repeat the same
        #: bytes. If that is not possible, the connection must be closed.
        self.stuck = False

    @classmethod
    def open(cls, endpoint: Endpoint, tls: ssl.SSLContext | None, deadline: Deadline) -> Transport:
        """Connect to one of the IP addresses of *endpoint*. Raises `TransportTimeout` or `TransportClosed`."""
        addresses = _look_up(endpoint)
        for left in range(len(addresses), 0, -1):
            try:
                return cls._open_one(endpoint.host, addresses[-left], tls, deadline.share(left))
            except TransportError:
                if left == 1:
                    raise
        raise TransportClosed(f"the host name {endpoint.host!r} has no address")

    @classmethod
    def _open_one(
        cls, host: str, address: tuple[typing.Any, ...], tls: ssl.SSLContext | None, deadline: Deadline
    ) -> Transport:
        family, kind, protocol, _, target = address
        transport = None
        try:
            # This fails, too, if the system does not support the address family, or has no free descriptor.
            raw = socket.socket(family, kind, protocol)
            transport = cls(raw)
            raw.setblocking(False)
            transport._connect(target, deadline)
            # Without TCP_NODELAY a confirmed send after unconfirmed ones stalls for 40 ms (Nagle and delayed ACK).
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(raw)
            if tls is not None:
                transport._start_tls(tls, host, deadline)
            else:
                transport._let_reads_wait()
            transport._polled = transport._poll = None  # an idle connection may never wait again
            return transport
        except BaseException as error:
            if transport is not None:
                transport.close()
            if isinstance(error, OSError):
                raise TransportClosed(describe(error)) from error
            raise

    def _connect(self, target: typing.Any, deadline: Deadline) -> None:
        try:
            self._socket.connect(target)
        except (BlockingIOError, InterruptedError):
            if not self.wait(deadline.remaining(), write=True):
                raise TransportTimeout("the connection was not accepted in time") from None
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code)) from None

    def _start_tls(self, tls: ssl.SSLContext, host: str, deadline: Deadline) -> None:
        import ssl

        try:
            wrapped = tls.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
            _sockets[self._reference] = self._socket = wrapped
            self._tls = True
            self.ask = None  # the system would count encrypted bytes
            while True:
                try:
                    wrapped.do_handshake()
                    break
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                    read = isinstance(error, ssl.SSLWantReadError)
                if not self.wait(deadline.remaining(), read=read, write=not read):
                    raise TransportTimeout("the TLS handshake was not answered in time (does this port speak TLS?)")
        except ssl.SSLCertVerificationError as error:
            raise TransportClosed(
                f"the broker's certificate was not accepted: {error.verify_message.rstrip(' .')}; "
                "if it was issued by an authority of your own, name that authority's file in tls_ca"
            ) from error
        except (ssl.SSLEOFError, ConnectionResetError) as error:
            raise TransportClosed("the broker ended the TLS handshake (does this port speak TLS?)") from error
        except ssl.SSLError as error:
            raise TransportClosed(f"the TLS handshake failed: {error.reason or error}") from error

    def _let_reads_wait(self) -> None:
        """On Linux, let a read wait up to 4 milliseconds. A socket call with the flag `_at_once` does not wait.

        If bytes come during this wait, no poll is needed. With this method, one thread sends 16 % more confirmed
        messages a second, and 8 threads send 20 % more (CPython 3.11). The method leaves sockets of gevent unchanged,
        because their reads would wait for ever.
        """
        if sys.platform != "linux" or socket.socket.__module__ != "socket":
            return
        level, option = socket.SOL_SOCKET, socket.SO_RCVTIMEO
        try:
            self._socket.setsockopt(level, option, _TIMEVAL.pack(*_SHORT_WAIT))
            if _TIMEVAL.unpack(self._socket.getsockopt(level, option, _TIMEVAL.size)) > _LONGEST_WAIT:
                return
        except (OSError, struct.error):  # the `timeval` of this system is different
            return
        self._socket.setblocking(True)
        self._at_once = socket.MSG_DONTWAIT

    def fileno(self) -> int:
        """Return the descriptor of the socket, or -1 after `close`."""
        return self._socket.fileno()

    @property
    def send_some(self) -> typing.Callable[[memoryview | bytes], int]:
        """A function that sends bytes without waiting, and returns how many were sent.

        The function raises `TransportClosed` if the connection has failed.
        """
        return self._send_record if self._tls else self._send_plain

    def _send_plain(self, data: memoryview | bytes) -> int:
        try:
            sent = self._socket.send(data, self._at_once)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise TransportClosed(describe(error)) from error
        self.bytes_sent += sent
        return sent

    def _send_record(self, data: memoryview | bytes) -> int:
        """Send at most one TLS record. The peer cannot read a record before the record is complete.

        Suppose that one call writes several records, and the system refuses only the last record. OpenSSL would then
        report that no record was sent.
        """
        try:
            sent = self._socket.send(data[:_RECORD_SIZE])
        except BlockingIOError:
            return 0
        except OSError as error:
            if _wants_more_time(error):
                self.stuck = True
                return 0
            raise TransportClosed(describe(error)) from error
        self.stuck = False
        self.bytes_sent += sent
        return sent

    def send_parts(self, parts: typing.Sequence[memoryview | bytes]) -> int:
        """Send the bytes of *parts* without joining them. Like `send_some`, return the number of sent bytes."""
        if self._tls:
            return self.send_some(parts[0])  # TLS has no call for several parts
        try:
            sent = self._socket.sendmsg(parts, (), self._at_once)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise TransportClosed(describe(error)) from error
        self.bytes_sent += sent
        return sent

    def receive_some(self) -> bytes | None:
        """Return received bytes. Raises `TransportClosed`.

        Return ``None`` if no bytes came, or ``b""`` if the peer has closed the connection.
        """
        try:
            return self._socket.recv(_RECEIVE_SIZE, self._at_once)
        except BlockingIOError:
            return None
        except OSError as error:
            if _wants_more_time(error):
                return None
            raise TransportClosed(describe(error)) from error

    def receive(self, deadline: Deadline, size: int = _RECEIVE_SIZE) -> bytes | None:
        """Wait for bytes, and return the bytes. ``None`` means that *deadline* expired.

        As with `receive_some`, ``b""`` means that the peer has closed the connection. Raises `TransportClosed`. *size*
        is a hint: more bytes may be returned.
        """
        if self._at_once:
            try:
                return self._socket.recv(size)  # this call waits for a moment
            except BlockingIOError:
                pass
            except OSError as error:
                raise TransportClosed(describe(error)) from error
        while True:
            seconds = deadline.remaining()
            poll = self._poll
            if self._polled != _TO_READ or self._socket.fileno() < 0:
                poll = self._make_poll(*_TO_READ)
            if not poll(math.ceil(seconds * 1000)):
                return None
            data = self.receive_some()
            if data is not None or not seconds:
                return data

    def wait(self, seconds: float, *, read: bool = False, write: bool = False, wake: int | None = None) -> bool:
        """Wait until the socket is ready, or the descriptor *wake* is readable. Return false after *seconds*.

        With *read*, the socket is ready if bytes can be read. With *write*, the socket is ready if bytes can be sent.
        """
        poll = self._poll
        if self._polled != (read, write, wake) or self._socket.fileno() < 0:
            poll = self._make_poll(read, write, wake)
        return bool(poll(math.ceil(seconds * 1000)))

    def _make_poll(self, read: bool, write: bool, wake: int | None) -> typing.Callable[[int], object]:
        """Return a function that waits for the same events as `wait` with the same arguments.

        The argument of the returned function is the longest wait, in milliseconds.
        """
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise TransportClosed("the connection was closed by another thread")
        if hasattr(select, "poll"):
            poll = select.poll()
            if read or write:  # otherwise poll would report a reset connection again and again
                poll.register(descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
            if wake is not None:
                poll.register(wake, select.POLLIN)
            waits: typing.Callable[[int], object] = poll.poll
        else:  # Windows
            wakers = [] if wake is None else [wake]
            sockets = ([descriptor, *wakers] if read else wakers, [descriptor] if write else [], [descriptor])
            waits = lambda milliseconds: any(select.select(*sockets, milliseconds / 1000))  # noqa: E731
        self._polled = None  # first: after an interrupt, the old value must not describe the new poll
        self._poll = waits
        self._polled = (read, write, wake)
        return waits

    def close(self) -> None:
        """Close the socket without sending anything. Further calls do nothing."""
        # close() of a TLS socket sends nothing either; only unwrap() sends a close-notify.
        with contextlib.suppress(OSError):  # a reset by the peer; the descriptor is closed nevertheless
            self._socket.close()


def _keep_alive(raw: socket.socket) -> None:
    """Let the system probe an idle connection, to detect a dead peer and to show traffic to firewalls."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # seconds before the first probe, seconds between probes, number of probes
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


_WORDS: typing.Final[dict[type[OSError], str]] = {
    ConnectionRefusedError: "connection refused",
    ConnectionResetError: "the broker reset the connection",
    BrokenPipeError: "the broker had closed the connection",
}


def describe(error: OSError) -> str:
    """Return a short description of *error*, an error of the operating system."""
    return _WORDS.get(type(error)) or error.strerror or str(error) or type(error).__name__


def _look_up(endpoint: Endpoint) -> list[tuple[typing.Any, ...]]:
    try:
        return list(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM))
    except (OSError, ValueError) as error:  # ValueError: a NUL or half a surrogate pair in the name
        reason = describe(error) if isinstance(error, OSError) else "not a host name"
        raise TransportClosed(f"the host name {endpoint.host!r} cannot be found: {reason}") from error


def _wants_more_time(error: OSError) -> bool:
    """Return whether *error* says that TLS must wait, because a record is not complete or the socket is full."""
    return type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


# The socket of each transport. It is kept here until its transport has gone, because in a reference cycle the garbage
# collector would finalize the socket before the transport, with a ResourceWarning.
_sockets: dict[weakref.ref[Transport], socket.socket] = {}


def _close_dropped(
    reference: weakref.ref[Transport], pop: typing.Any = _sockets.pop, suppress: typing.Any = contextlib.suppress
) -> None:
    # The arguments keep what is needed while the interpreter ends and the global names of this module have gone.
    with suppress(OSError):  # as in `Transport.close`
        pop(reference).close()


def _close_inherited() -> None:
    for inherited in list(_sockets.values()):
        with contextlib.suppress(OSError):
            inherited.close()


# While a child has a copy of a descriptor, the broker cannot see that the parent has closed its connection. uWSGI forks
# without calling hooks, so the owner of a connection checks the process id at its next use, and closes the copy.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
