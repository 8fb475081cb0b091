"""stomp.py, the client that most people use, as the one who reads back what the library sent.

A library that checks itself with its own reader proves only that it agrees with itself. stomp.py shares no code with
it. What comes back is left as bytes (`auto_decode=False`), and nothing waits without a deadline: stomp.py's own
waiting calls have none.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import stomp

from tests.brokers.running import PATIENCE

if TYPE_CHECKING:
    from types import TracebackType

    from stomp.utils import Frame

    from tests.brokers.running import RunningBroker

_CONNECTIONS = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}


@dataclass(frozen=True)
class Received:
    """A MESSAGE frame as it was read."""

    headers: dict[str, str]
    body: bytes


class _Receipt:
    """Somebody waits for this receipt; settled without being confirmed means that it will not come."""

    def __init__(self) -> None:
        self.settled = threading.Event()
        self.confirmed = False


class ForeignError(AssertionError):
    """The broker sent ERROR to the foreign client, closed its connection, or kept silent for too long."""


class NothingCame(ForeignError):
    """No message came within the time that the caller gave."""


# Seconds. stomp.py does not always see over TLS that the broker has closed (Artemis 2.40); nothing depends on it.
_CLOSING = 5.0


class ForeignClient(stomp.ConnectionListener):
    """One stomp.py connection: subscribes, sends and reads, each with a receipt and a deadline."""

    def __init__(
        self,
        broker: RunningBroker,
        *,
        version: str | None = None,
        login: str | None = None,
        passcode: str | None = None,
        vhost: str | None = None,
        heartbeats: tuple[int, int] = (0, 0),
        tls: bool = False,
        messages: queue.Queue[Received | None] | None = None,
    ) -> None:
        """`messages`: where to put what arrives, to share it with another client."""
        self.broker = broker
        self.version = version or broker.traits.versions[-1]
        self._login = broker.login if login is None else login
        self._passcode = broker.passcode if passcode is None else passcode
        options: dict[str, object] = {"auto_decode": False, "reconnect_attempts_max": 1}
        if self.version != "1.0":
            options |= {"vhost": broker.vhost if vhost is None else vhost, "heartbeats": heartbeats}
            options |= {"heart_beat_receive_scale": PATIENCE}  # beats of a second may be late by all of it
        address = broker.host, broker.tls_port if tls else broker.port
        self.connection = _CONNECTIONS[self.version]([address], **options)
        if tls:
            self.connection.set_ssl([address], ca_certs=str(broker.certificates.authority))
        self.connection.set_listener("tests", self)
        self.connected_frame: Frame | None = None
        self.errors: list[Received] = []
        self._connected = threading.Event()
        self._closed = threading.Event()
        self._receipts: dict[str, _Receipt] = {}
        self._messages = queue.Queue() if messages is None else messages

    # What it does.

    def __enter__(self) -> ForeignClient:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        self.connection.connect(self._login, self._passcode, wait=False)
        if not self._connected.wait(PATIENCE):
            raise ForeignError(f"{self.broker} did not answer CONNECT{self._trouble()}")
        if self.connected_frame is None:
            raise ForeignError(f"{self.broker} refused CONNECT{self._trouble()}")

    def close(self) -> None:
        """DISCONNECT with its receipt; a broker that does not answer is left."""
        if self.connection.is_connected():
            # The broker may be first, after its ERROR; stomp.py's thread closes the socket then, perhaps just now.
            with contextlib.suppress(stomp.exception.NotConnectedException, OSError):
                self.connection.disconnect()  # stomp.py adds a receipt and closes when it comes
                self._closed.wait(_CLOSING)
        if self.connection.transport.socket is not None:
            self.connection.transport.disconnect_socket()

    def subscribe(self, destination: str, *, ack: str = "auto", headers: dict[str, str] | None = None) -> str:
        """Subscribe, and return the subscription's id only when the broker has confirmed it."""
        identifier = f"sub-{uuid.uuid4()}"
        receipt = self._expect_receipt()
        self.connection.subscribe(destination, id=identifier, ack=ack, headers={**(headers or {}), "receipt": receipt})
        self._await_receipt(receipt)
        return identifier

    def unsubscribe(self, identifier: str) -> None:
        receipt = self._expect_receipt()
        self.connection.unsubscribe(id=identifier, receipt=receipt)
        self._await_receipt(receipt)

    def send(self, destination: str, body: bytes | str, headers: dict[str, str] | None = None) -> None:
        """Send, and return when the broker has confirmed it."""
        receipt = self._expect_receipt()
        self.connection.send(destination, body, headers={**(headers or {}), "receipt": receipt})
        self._await_receipt(receipt)

    def get(self, timeout: float = PATIENCE) -> Received:
        """The next message of any subscription."""
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            raise NothingCame(f"no message from {self.broker} within {timeout} s{self._trouble()}") from None
        if message is None:
            self._messages.put(None)
            raise ForeignError(f"{self.broker} closed the reader's connection{self._trouble()}")
        return message

    def ack(self, message: Received) -> None:
        self._answer("ack", message)

    def nack(self, message: Received) -> None:
        self._answer("nack", message)

    def confirmed(self, command: str, headers: dict[str, str]) -> None:
        """Send any frame with a receipt and wait for it."""
        receipt = self._expect_receipt()
        self.connection.send_frame(command, {**headers, "receipt": receipt})
        self._await_receipt(receipt)

    # What it hears: called by stomp.py, in its thread.

    def on_connected(self, frame: Frame) -> None:
        self.connected_frame = frame
        self._connected.set()

    def on_message(self, frame: Frame) -> None:
        self._messages.put(Received(frame.headers, frame.body))

    def on_receipt(self, frame: Frame) -> None:
        expected = self._receipts.get(frame.headers["receipt-id"])
        if expected is not None:
            expected.confirmed = True
            expected.settled.set()

    def on_error(self, frame: Frame) -> None:
        self.errors.append(Received(frame.headers, frame.body))
        self._wake_all()

    def on_disconnected(self) -> None:
        self._closed.set()
        self._messages.put(None)
        self._wake_all()

    # How it waits.

    def _answer(self, command: str, message: Received) -> None:
        receipt = self._expect_receipt()
        if self.version == "1.2":
            arguments = [message.headers["ack"]]
        elif self.version == "1.1":
            arguments = [message.headers["message-id"], message.headers["subscription"]]
        else:
            arguments = [message.headers["message-id"]]
        getattr(self.connection, command)(*arguments, receipt=receipt)
        self._await_receipt(receipt)

    def _expect_receipt(self) -> str:
        receipt = f"receipt-{uuid.uuid4()}"
        self._receipts[receipt] = _Receipt()
        return receipt

    def _await_receipt(self, receipt: str) -> None:
        expected = self._receipts[receipt]
        expected.settled.wait(PATIENCE)
        del self._receipts[receipt]
        if not expected.confirmed:
            raise ForeignError(f"{self.broker} did not confirm{self._trouble()}")

    def _wake_all(self) -> None:
        self._connected.set()
        # An ERROR need not say what it answers (RabbitMQ/3.10.8 never does): whoever waits takes it for his.
        for expected in list(self._receipts.values()):
            expected.settled.set()

    def _trouble(self) -> str:
        if not self.errors:
            return ""
        last = self.errors[-1]
        return f": ERROR {last.headers.get('message', '')} {last.body[:200]!r}"
