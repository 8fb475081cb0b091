"""What is measured: a function for each table, in the order in which the report shows them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.results import Table
from benchmarks.tables import (
    brokers,
    codec,
    connect,
    hostile,
    imports,
    memory,
    outbox,
    publish,
    receive,
    requests,
    threads,
    worker,
)

#: By name: what it is, for ``--list``, and the function that measures it.
TABLES: dict[str, tuple[str, Callable[[Bench], Table]]] = {
    "publish-unconfirmed": ("messages in a row, one final receipt, 1 thread", publish.unconfirmed),
    "publish-confirmed": ("messages confirmed one by one, 1 thread", publish.confirmed),
    "publish-three": ("requests that send three messages, of which the last is confirmed", publish.three),
    "publish-batch": ("batches of 64, unconfirmed and each confirmed", publish.batch),
    "publish-threads": ("8 and 64 threads on a pool of 8 connections", threads.threads),
    "connect": ("a connection per request, against one that is kept", connect.connect),
    "requests": ("what one confirmed message adds to a WSGI, Flask and Django request", requests.requests),
    "encode": ("frames to bytes", codec.encode),
    "parse": ("bytes to frames: whole chunks, fragments, single bytes", codec.parse),
    "hostile": ("inputs that are made to hurt, in two lengths", hostile.hostile),
    "receive": ("messages through the duplex client and the worker", receive.receive),
    "worker": ("what a worker adds to the receiving of a message", worker.worker),
    "memory": ("idle connections, and one send of 1 MiB", memory.memory),
    "import": ("the time that an import takes", imports.imports),
    "rabbitmq": ("the real RabbitMQ, where it is installed; not with --quick", brokers.rabbitmq),
    "activemq": ("the real ActiveMQ, where it is installed; not with --quick", brokers.activemq),
    "outbox": ("relayed from PostgreSQL to RabbitMQ, where both are installed; not with --quick", outbox.relayed),
    "outbox-latency": ("from the commit to the broker; not with --quick", outbox.latency),
    "outbox-send": ("what a message in the outbox adds to a transaction; not with --quick", outbox.cost),
    "outbox-backlog": ("a million rows; only when it is named whole", outbox.backlog),
}

#: These need a broker that starts for seconds.
SLOW = ("rabbitmq", "activemq", "outbox", "outbox-latency", "outbox-send", "outbox-backlog")

#: These take minutes, and are measured only if `--only` has their whole name.
LONG = ("outbox-backlog",)
