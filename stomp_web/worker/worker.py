"""`Worker` and its options. `Worker._make_supervisor` makes and connects the parts of a run."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import typing

from .._internal.per_process import Unpicklable
from .._internal.redacted import redact_secret, redact_secrets
from .._internal.signals import StopSignals
from .._internal.wakeup import Wakeup
from ..client.duplex import QueueingDuplexClient
from ..client.queues import FrameQueue
from ..config import CONNECTION_OPTIONS, LIMIT_OPTIONS, Options, read_options, seconds, unknown_option, whole_number
from ..connection.address import parse_address
from ..errors import ConfigurationError, StompError
from ..observers import Observer, Observers, installers
from ..pool import PublishClientPool
from ..protocol import commands
from ..serializers import get_serializer
from .acknowledger import Acknowledger, Counters
from .dead_letters import DeadLetters
from .delivery import CurrentSession, Duplicates, FailureCounts
from .events import WorkerEvents
from .executors import Around, ThreadExecutor, Trace
from .handlers import ACCEPT, Function, Handlers
from .inbox import Inbox
from .once import OnceInbox
from .processes import Initializer, ProcessExecutor
from .supervisor import Progress, Supervisor, WorkerStats
from .worker_thread import WorkerThread

__all__ = ["SETTINGS", "Worker"]

_F = typing.TypeVar("_F", bound=Function)

# The options of the whole package that a worker uses, too.
_OPTIONS = ("url", *CONNECTION_OPTIONS, "signing_keys", "telemetry")
#: The options of a worker that a framework's settings may contain.
SETTINGS: typing.Final = (
    *("concurrency", "connect_headers", "dead_letter", "deduplicate", "grace", "max_redeliveries", "prefetch"),
    *("processes", "retry_delay", "untyped"),
)
_OWN = (*SETTINGS, "around", "handlers", "inbox", "initializer", "observers")


class Worker(Unpicklable):
    """Receives messages, and calls a handler with each message. Several handlers can run at the same time.

    >>> worker = Worker("stomp://localhost:61613", concurrency=4)
    >>> @worker.subscribe("/queue/orders", accept=("json",))
    ... def place_order(message):
    ...     print(message.id, message.payload)
    >>> worker.run()  # doctest: +SKIP

    * *url* - the address of one broker or of several brokers. The address may contain options. See `parse_address`.
    * *concurrency* - how many handlers may run at the same time, each in a thread. Default: 8. With 1, messages are
      handled in the order in which the broker sends them.
    * *processes* - if not 0, handlers run in this number of processes instead of threads. A process runs one handler at
      a time. Each process is a new interpreter that imports the handlers. Define handlers at the top level of a module.
    * *prefetch* - how many unacknowledged messages the broker may send for each subscription. RabbitMQ and ActiveMQ
      support this limit. Default: twice the number of handlers that may run at the same time.
    * *max_redeliveries* - how often a message is tried again after its handler has raised. Default: 5.
    * *retry_delay* - seconds before the first retry. The pause doubles each time, up to 30 seconds. Default: 0.1.
    * *dead_letter* - the destination for a message whose last try has failed. Default: ``/queue/DLQ``. The message is
      acknowledged when the broker has confirmed the dead letter.
    * *deduplicate* - how many handled messages to remember by ``x-message-id``. If a remembered message comes again,
      the message is dropped. Default: 0.
    * *grace* - how many seconds running handlers have to end when the worker stops. Default: 30.
    * *untyped* - the name of the serializer for bodies without a content type. Default: ``bytes``. A handler's
      own *untyped* replaces this name.
    * *initializer* - a function at the top level of a module, which each process calls before it imports the handlers.
    * *around* - a function that returns a context manager. Each message is handled inside a new context manager.
    * *handlers* - a `Handlers` object that was filled before. Default: a new object, which `subscribe` fills.
    * *inbox* - a `stomp_web.sqlalchemy.Inbox`, which handlers with ``once=True`` need. If handlers run in processes,
      pass a function at the top level of a module instead. Each process calls the function, which returns an inbox.
    * *connect_headers* - more headers of CONNECT, such as ``client-id``.
    * *observers* - callables that are notified of every message: see `stomp_web.observers`.
    * *options* - these options of a `Publisher`: ``login``, ``passcode``, ``vhost``, ``timeout``, ``connect_timeout``,
      ``heart_beat``, ``tls_ca``, ``tls_cert``, ``tls_key``, ``tls_key_password``, ``tls_insecure_skip_verify``,
      ``signing_keys``, ``telemetry``, ``max_header_bytes``, ``max_headers`` and ``max_body_bytes``. By default, both
      sides send a heart-beat every 10 seconds. If a message exceeds one of the three ``max_`` limits, its readable part
      becomes a dead letter at once.

    Raises `ConfigurationError` if an option is invalid. Before `run`, no connection is opened and no thread is started.
    """

    def __init__(
        self,
        url: str = "stomp://127.0.0.1:61613",
        *,
        concurrency: int = 8,
        processes: int = 0,
        prefetch: int | None = None,
        max_redeliveries: int = 5,
        retry_delay: float = 0.1,
        dead_letter: str = "/queue/DLQ",
        deduplicate: int = 0,
        grace: float = 30.0,
        untyped: str = "bytes",
        initializer: Initializer | None = None,
        around: Around | None = None,
        handlers: Handlers | None = None,
        inbox: OnceInbox | typing.Callable[[], OnceInbox] | None = None,
        connect_headers: typing.Mapping[str, str] | None = None,
        observers: typing.Iterable[Observer] = (),
        **options: typing.Any,
    ) -> None:
        url, options = redact_secret("url", url), redact_secrets(options)
        for name in options:
            if name not in _OPTIONS:
                raise unknown_option(name, known=(*_OPTIONS, *_OWN))
        address = parse_address(url)
        if address.local:
            raise ConfigurationError(f"{address.scheme}:// opens no connection; a worker needs a broker", "url")
        self._url = address.url
        self._broker = str(address)
        # A publisher may use the same address, so the address may contain options of a publisher.
        checked = read_options(address.options, options)
        self._connection = {name: checked[name] for name in CONNECTION_OPTIONS if name in checked}
        self._keys: tuple[str | bytes, ...] = checked.get("signing_keys", ())
        self._connect_headers = dict(connect_headers or {})
        #: How many handlers run at the same time, if they run in threads. May be set before `run`.
        self.concurrency = whole_number("concurrency", concurrency, 1)
        #: The number of processes in which handlers run, or 0 if they run in threads. May be set before `run`.
        self.processes = whole_number("processes", processes, 0)
        self._prefetch = None if prefetch is None else whole_number("prefetch", prefetch, 1)
        self._max_redeliveries = whole_number("max_redeliveries", max_redeliveries, 0)
        self._retry_delay = seconds("retry_delay", retry_delay)
        self._dead_letter = commands.check_destination(dead_letter)
        self._deduplicate = whole_number("deduplicate", deduplicate, 0)
        self._grace = seconds("grace", grace)
        self._untyped = get_serializer(untyped).name
        self._initializer = initializer
        self._around = around or contextlib.nullcontext
        self._inbox = inbox
        #: The callables that are notified of every message. `Observers.add` adds one, also during `run`.
        self.observers = Observers(observers)
        #: A context manager around each message that gets the message, for `stomp_web.telemetry`.
        self.trace: Trace | None = None
        #: The functions, and the destinations that they handle.
        self.handlers = Handlers() if handlers is None else handlers
        self._idle = collections.deque([None])  # empty during `run`. Not a lock: `run` calls the application.
        self._supervisor: Supervisor | None = None
        self._make_client(FrameQueue(1))  # only for its errors: nothing is opened
        self._make_pool()
        if checked.get("telemetry"):
            from ..telemetry import instrument

            instrument(self)
        for install in installers:
            install(self)

    @classmethod
    def from_options(
        cls, options: Options, settings: typing.Mapping[str, typing.Any] | None = None, **own: typing.Any
    ) -> Worker:
        """Return a worker for the broker of a publisher. *options* are the publisher's options.

        The worker ignores a `heart_beat` of ``(0, 0)`` and options that only a publisher has. *settings* are the
        worker's options in a framework's configuration. `SETTINGS` has the names of these options. *own* are more
        options of the worker. Raises `ConfigurationError` if an option is unknown or invalid.
        """
        settings = settings or {}
        for name in settings:
            if name not in SETTINGS:
                raise unknown_option(name, known=SETTINGS)
        given = {name: value for name in _OPTIONS if (value := getattr(options, name)) and value != (0, 0)}
        return cls(**{**given, **settings, **own})

    def subscribe(
        self,
        destination: str,
        *,
        ack: str = "client-individual",
        accept: typing.Sequence[str] = ACCEPT,
        headers: typing.Mapping[str, str] | None = None,
        id: str | None = None,
        untyped: str | None = None,
        sent_to: str | typing.Sequence[str] = (),
        once: bool = False,
    ) -> typing.Callable[[_F], _F]:
        """Return a decorator for a function that handles the messages of *destination*. See `Handlers.subscribe`."""
        return self.handlers.subscribe(
            destination, ack=ack, accept=accept, headers=headers, id=id, untyped=untyped, sent_to=sent_to, once=once
        )

    def run(self, *, on_progress: Progress | None = None, initializer: Initializer | None = None) -> int:
        """Receive and handle messages until SIGTERM, Ctrl-C or `stop`. Return the exit code for the program.

        When the connection is lost, the worker connects and subscribes again. The pause before a new connection grows
        with each failure. If `run` is called in the main thread, the first SIGTERM or Ctrl-C shuts the worker down
        cleanly. The worker takes no more messages, and running handlers have *grace* seconds to end. Then the worker
        acknowledges the handled messages and closes the connection with DISCONNECT. A second signal within half a
        second is ignored, because a terminal and a wrapper may both forward one Ctrl-C. A later signal ends the worker
        at once, with `KeyboardInterrupt` or `SystemExit`. Returns 0, or 1 if a handler did not end in time.

        *on_progress* is called in the thread of `run` about twice a second, with a `WorkerStats`. An `Exception` of
        *on_progress* is logged, and the worker continues. If handlers run in processes, each process first
        calls this *initializer*, and then the *initializer* of the constructor. So a program can configure logging in
        its processes.

        Raises `StompError` if the worker is running already, or if all its threads have failed. Raises
        `ConfigurationError` if there is no handler, if a handler cannot be run, or if the table of the inbox is
        missing. Raises `AuthenticationFailed` if the broker refuses the login at the first connection. Raises
        `Rejected` if the broker permanently refuses a subscription at the first connection. The reason may be a
        missing permission, an invalid destination, an invalid selector, or a queue that exists with other arguments.
        After any other error, the worker waits and tries again. For example, the broker cannot be reached, or RabbitMQ
        answers NOT_FOUND. Another program may still declare the missing queue.
        """
        try:
            self._idle.pop()
        except IndexError:
            raise StompError("this worker is running already") from None
        try:
            self._supervisor = supervisor = self._make_supervisor(on_progress, initializer)
            with StopSignals(supervisor.stop):
                return 0 if supervisor.run() else 1
        finally:
            self._idle.append(None)

    def stop(self) -> None:
        """Ask a running worker to shut down cleanly, as SIGTERM does. Safe in any thread. The call does not wait.

        If `run` has not begun, the call does nothing. So if `run` is called in another thread, first wait until
        `is_alive` is true. Then call `stop`.
        """
        supervisor = self._supervisor
        if supervisor is not None:
            supervisor.stop()

    @property
    def url(self) -> str:
        """The address of the broker or brokers, without credentials."""
        return self._broker

    @property
    def is_alive(self) -> bool:
        """Whether messages can be received and handled now. Use this property for readiness probes.

        True if the broker has confirmed all subscriptions of the session, and if all parts of the worker are alive. The
        parts are the reader's loop, and the threads or processes for handlers. The loop ends if the broker sends no
        heart-beats.
        """
        supervisor = self._supervisor
        return supervisor is not None and supervisor.is_alive

    @property
    def stuck(self) -> str:
        """The reason why only a restart of the program helps, or an empty text. Use this property for liveness probes.

        A worker that tries to reach an absent broker is not stuck. The worker is stuck in three cases:

        * A thread for handlers has failed.
        * A heart-beat of the broker is a minute late, and the reader's thread has not ended the session.
        * The thread of `run` has made no progress for too long. The limit is five minutes, plus the option ``timeout``
          for CONNECT, plus the option ``timeout`` for each SUBSCRIBE.
        """
        supervisor = self._supervisor
        return "" if supervisor is None else supervisor.stuck

    def stats(self) -> WorkerStats:
        """Return the statistics of the current or last run."""
        supervisor = self._supervisor
        return WorkerStats() if supervisor is None else supervisor.stats()

    _instead = "hand over the name of the module that makes it"

    def __repr__(self) -> str:
        how = f"{self.processes} processes" if self.processes else f"{self.concurrency} threads"
        return f"<Worker {self._broker}, {how}, {len(self.handlers)} handlers>"

    def _make_supervisor(self, on_progress: Progress | None, initializer: Initializer | None) -> Supervisor:
        """Make and connect all parts of a run. The docstring of `stomp_web.worker` has a diagram of the parts."""
        inbox = self._inbox() if callable(self._inbox) else self._inbox
        self.handlers.check(self._dead_letter, self._keys, None if inbox is None else inbox.arguments)
        handlers = [dataclasses.replace(each, untyped=each.untyped or self._untyped) for each in self.handlers]
        count = whole_number("processes", self.processes, 0) or whole_number("concurrency", self.concurrency, 1)
        prefetch = self._prefetch or 2 * count
        counters, wakeup, failures = Counters(), Wakeup(), FailureCounts()
        session = CurrentSession(failures)
        waiting = Inbox(handlers, prefetch * len(handlers), session)
        client = self._make_client(waiting)
        pool = self._make_pool()
        dead_letters, duplicates = DeadLetters(pool, self._dead_letter), Duplicates(self._deduplicate)
        tries = (self._max_redeliveries, self._retry_delay)
        events = WorkerEvents(self.observers, client)
        parts = (client, session, waiting, dead_letters, duplicates, failures, counters)
        acknowledger = Acknowledger(*parts, *tries, events)
        setup = (handlers, self._keys, self._around)
        initializers = [each for each in (initializer, self._initializer) if each is not None]
        executors = [
            ProcessExecutor(*setup, initializers, number, self._inbox, self.trace)
            if self.processes
            else ThreadExecutor(*setup, inbox, self.trace)
            for number in range(1, count + 1)
        ]
        if not self.processes:  # a process checks its own inbox when it starts
            ThreadExecutor(*setup, inbox).check_inbox()
        threads = [
            WorkerThread(number, waiting, each, acknowledger, wakeup) for number, each in enumerate(executors, 1)
        ]
        options = (prefetch, self._grace, on_progress)
        return Supervisor(client, session, waiting, pool, handlers, threads, counters, wakeup, *options)

    def _make_client(self, inbox: FrameQueue) -> QueueingDuplexClient:
        options = {"heart_beat": (10_000, 10_000), **self._connection}
        return QueueingDuplexClient.from_url(
            self._url, message_queue=inbox, connect_headers=self._connect_headers, **options
        )

    def _make_pool(self) -> PublishClientPool:
        options = {name: value for name, value in self._connection.items() if name not in LIMIT_OPTIONS}
        return PublishClientPool(self._url, max_size=2, **{**options, "heart_beat": (0, 0)})
