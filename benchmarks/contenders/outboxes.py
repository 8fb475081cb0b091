"""Outboxes in PostgreSQL: stomp-web's with SQLAlchemy and with Django, and django-outbox-pattern's.

What fills the table before a run is not measured. Where several relays work, each is a process of its own, which has
connected before all begin together.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import time
import typing
from collections.abc import Iterator

import sqlalchemy
from sqlalchemy.orm import Session, registry

from benchmarks.case import Case
from benchmarks.contender import Contender, Run
from benchmarks.contenders.raw import RawConnection
from benchmarks.frames import payload
from benchmarks.outcome import Outcome, summary
from stomp_web import Publisher
from stomp_web.outbox import Relay
from stomp_web.sqlalchemy import Outbox

KEYS = 50
TIMEOUT = 60.0
#: How many steps of a long run are timed one by one.
STEPS = 10

_FILL = """
    INSERT INTO {table} (message_id, destination, headers, content_type, body, key, alias, ttl, created_at, attempts,
                         next_attempt_at, last_error, state)
    SELECT message_id || '-' || number, destination, headers, content_type, body, 'key-' || number % {keys}, alias, ttl,
           created_at, attempts, next_attempt_at, last_error, state
    FROM {table}, generate_series(1, {count}) AS number
"""


class WithSqlAlchemy(Contender):
    """The outbox of `stomp_web.sqlalchemy`."""

    @contextlib.contextmanager
    def many(self, case: Case) -> Iterator[Run]:
        """`Publisher.send_many`, without a database."""
        content = payload(case.size)
        with Publisher(case.url, timeout=TIMEOUT) as publisher:

            def run(count: int) -> Outcome:
                began = time.perf_counter()
                for start in range(0, count, case.length):
                    size = min(case.length, count - start)
                    publisher.send_many([(case.destination, content)] * size, confirm=True)
                seconds = time.perf_counter() - began
                return Outcome(seconds, seconds, count, count)

            yield run

    @contextlib.contextmanager
    def relayed(self, case: Case) -> Iterator[Run]:
        """`case.threads` relays send what is in the table, `case.length` rows in one batch."""
        with _outbox(case) as (outbox, engine):

            def run(count: int) -> Outcome:
                self.fill(case, outbox, engine, count)
                seconds = max(_times_of_relays(type(self), case))
                return Outcome(seconds, seconds, count, count)

            yield run

    @contextlib.contextmanager
    def backlog(self, case: Case) -> Iterator[Run]:
        """One relay with a long way before it: how fast it is at the beginning and at the end, and its memory."""
        with _outbox(case) as (outbox, engine):

            def run(count: int) -> Outcome:
                self.fill(case, outbox, engine, count)
                relay, marks, memory = outbox.relay(engine, batch=case.length), [time.perf_counter()], []

                def note(stats: typing.Any) -> None:
                    if stats.sent >= len(marks) * count / STEPS:
                        marks.append(time.perf_counter())
                        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0)

                relay.run(once=True, on_progress=note)
                seconds = time.perf_counter() - marks[0]
                first, last = marks[1] - marks[0], time.perf_counter() - marks[STEPS - 1]
                return Outcome(
                    seconds, seconds, count, count, numbers={"slowdown": first / last, "memory": memory[-1] - memory[0]}
                )

            yield run

    def fill(self, case: Case, outbox: Outbox, engine: sqlalchemy.Engine, count: int) -> None:
        """Write one message as an application does, and copy it in the database."""
        table = outbox.table.name
        with engine.begin() as connection:
            connection.execute(outbox.table.delete())
        with Session(engine) as session:
            outbox.send(session, case.destination, payload(case.size))
            session.commit()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(_FILL.format(table=table, keys=KEYS, count=count).replace("%", "%%"))
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE key IS NULL")
            connection.exec_driver_sql(f"VACUUM ANALYZE {table}")

    @staticmethod
    @contextlib.contextmanager
    def relay(case: Case) -> Iterator[Relay]:
        """A relay whose connections to the database and the broker are open."""
        with _outbox(case) as (outbox, engine):
            assert outbox.publisher.check()
            yield outbox.relay(engine, batch=case.length, poll=float(case.input or 1))

    @contextlib.contextmanager
    def notified(self, case: Case) -> Iterator[Run]:
        """From the commit until a subscriber has the message: a relay that is woken, or asks each `case.input` s."""
        with _outbox(case, notify=not case.input) as (outbox, engine), _running(type(self), case):
            yield from self._latency(case, outbox, engine)

    @contextlib.contextmanager
    def inline(self, case: Case) -> Iterator[Run]:
        """The same, where the process that commits sends."""
        with _outbox(case, relay="inline") as (outbox, engine):
            yield from self._latency(case, outbox, engine)

    def _latency(self, case: Case, outbox: Outbox, engine: sqlalchemy.Engine) -> Iterator[Run]:
        listening = RawConnection(case)
        listening.socket.settimeout(TIMEOUT)
        listening.send(f"SUBSCRIBE\nid:1\ndestination:{case.destination}\nack:auto\n\n\0".encode())

        def call() -> float:
            with Session(engine) as session:
                outbox.send(session, case.destination, payload(case.size))
                began = time.perf_counter()
                session.commit()
            listening.await_frames(1)
            return time.perf_counter() - began

        def run(count: int) -> Outcome:
            call()  # the subscription is there, and the relay has begun
            waits = [call() for _ in range(count)]
            return Outcome(sum(waits), sum(waits), count, waits=summary(waits))

        yield run
        listening.close()

    @contextlib.contextmanager
    def inserting(self, case: Case) -> Iterator[Run]:
        """A transaction that inserts one row by the ORM."""
        with self._orders(case, sends=False) as run:
            yield run

    @contextlib.contextmanager
    def sending(self, case: Case) -> Iterator[Run]:
        """The same, with a message."""
        with self._orders(case, sends=True) as run:
            yield run

    @contextlib.contextmanager
    def _orders(self, case: Case, *, sends: bool) -> Iterator[Run]:
        with _outbox(case) as (outbox, engine):
            mapping = registry()
            table = sqlalchemy.Table(
                "orders",
                mapping.metadata,
                sqlalchemy.Column("id", sqlalchemy.BigInteger, primary_key=True),
                sqlalchemy.Column("text", sqlalchemy.Text),
            )

            class Order:
                def __init__(self, text: str) -> None:
                    self.text = text

            mapping.map_imperatively(Order, table)
            mapping.metadata.create_all(engine)
            content = payload(case.size)

            def call() -> None:
                with Session(engine) as session:
                    order = Order("x" * case.size)
                    session.add(order)
                    session.flush()
                    if sends:
                        outbox.send(session, case.destination, content, key=str(order.id))
                    session.commit()

            def run(count: int) -> Outcome:
                call()
                began = time.perf_counter()
                for _ in range(count):
                    call()
                seconds = time.perf_counter() - began
                return Outcome(seconds, seconds, count)

            yield run
            mapping.metadata.drop_all(engine)


class WithDjango(WithSqlAlchemy):
    """The outbox of `stomp_web.django.outbox`: the same table, relayed through Django's ORM."""

    @staticmethod
    @contextlib.contextmanager
    def relay(case: Case) -> Iterator[Relay]:
        configure_django(case, ["stomp_web.django", "stomp_web.django.outbox"])
        from django.db import connection

        from stomp_web.django import publishers
        from stomp_web.django.outbox.store import DjangoStore

        assert publishers["default"].check()
        connection.ensure_connection()
        yield Relay(DjangoStore("default"), publishers.__getitem__, batch=case.length)
        publishers.close_all()


class Pattern(Contender):
    """django-outbox-pattern, with rows such as `Published.objects.create` writes: five headers of its own in each.

    It pauses for a second after each look at the table; here it does not pause at all.
    """

    @contextlib.contextmanager
    def relayed(self, case: Case) -> Iterator[Run]:
        settings = {
            "DEFAULT_STOMP_HOST_AND_PORTS": [(case.host, case.port)],
            "DEFAULT_STOMP_USERNAME": case.login,
            "DEFAULT_STOMP_PASSCODE": case.passcode,
            "DEFAULT_PRODUCER_WAITING_TIME": 0,
        }
        configure_django(case, ["django_outbox_pattern"], DJANGO_OUTBOX_PATTERN=settings)
        from django.core.management import call_command
        from django_outbox_pattern.factories import factory_producer
        from django_outbox_pattern.headers import get_message_headers
        from django_outbox_pattern.models import Published

        call_command("migrate", verbosity=0)

        def run(count: int) -> Outcome:
            producer = factory_producer()
            body = payload(case.size)
            rows = [Published(destination=case.destination, body=body) for _ in range(count)]
            for row in rows:
                row.headers = get_message_headers(row)  # as `save` does, which `bulk_create` does not call
            Published.objects.bulk_create(rows)
            began = time.perf_counter()
            producer.publish_message_from_database()
            seconds = time.perf_counter() - began
            Published.objects.all().delete()
            return Outcome(seconds, seconds, count, count)

        yield run


def configure_django(case: Case, apps: list[str], **more: object) -> None:
    """Set Django up, once in a process."""
    import django
    from django.conf import settings

    if settings.configured:
        return
    url = sqlalchemy.make_url(case.database)
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url.database,
                "USER": url.username,
                "HOST": url.host,
                "PORT": url.port,
            }
        },
        INSTALLED_APPS=apps,
        SECRET_KEY=os.urandom(16).hex(),
        STOMP={"default": {"OPTIONS": {"url": case.url, "timeout": TIMEOUT}}},
        USE_TZ=True,
        **more,
    )
    django.setup()


_Maker = type[WithSqlAlchemy]


def _times_of_relays(kind: _Maker, case: Case) -> list[float]:
    """How long each of `case.threads` relays took that began together, in seconds."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(case.threads), context.SimpleQueue()
    processes = [context.Process(target=_empty, args=(kind, case, barrier, answers)) for _ in range(case.threads)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT)
        if process.exitcode != 0:
            for each in processes:
                each.kill()
            raise RuntimeError(f"a relay has ended with {process.exitcode}")
    return [answers.get() for _ in processes]


def _empty(kind: _Maker, case: Case, barrier: typing.Any, answers: typing.Any) -> None:
    with kind.relay(case) as relay:
        barrier.wait(TIMEOUT)
        began = time.perf_counter()
        code = relay.run(once=True)
        answers.put(time.perf_counter() - began)
    raise SystemExit(code)


@contextlib.contextmanager
def _running(kind: _Maker, case: Case) -> Iterator[None]:
    """A relay in a process of its own, until the block ends."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(kind, case))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(TIMEOUT)


def _run(kind: _Maker, case: Case) -> None:
    with kind.relay(case) as relay:
        relay.run()


@contextlib.contextmanager
def _outbox(case: Case, **options: typing.Any) -> Iterator[tuple[Outbox, sqlalchemy.Engine]]:
    with Publisher(case.url, timeout=TIMEOUT) as publisher:
        metadata = sqlalchemy.MetaData()
        outbox = Outbox(metadata, publisher, **options)
        engine = sqlalchemy.create_engine(case.database)
        metadata.create_all(engine)
        yield outbox, engine
        engine.dispose()
