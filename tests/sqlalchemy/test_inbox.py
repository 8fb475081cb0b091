from __future__ import annotations

import contextlib
import datetime
import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from stomp_web import ConfigurationError, PublishClient, Publisher
from stomp_web.broker import Broker
from stomp_web.sqlalchemy import Inbox
from stomp_web.worker import ReceivedMessage, Worker
from stomp_web.worker.executors import Job, ThreadExecutor
from tests.client.scripted import eventually
from tests.worker.running import Running

if TYPE_CHECKING:
    from sqlalchemy import Engine

LIMIT = 150.0
METADATA = MetaData()
ORDERS = Table("orders", METADATA, Column("id", Integer, primary_key=True), Column("number", Integer))


@pytest.fixture
def inbox(engine: Engine) -> Inbox:
    metadata = MetaData()
    made = Inbox(metadata, sessionmaker(engine))
    metadata.create_all(engine)
    METADATA.create_all(engine)
    return made


def orders(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(ORDERS.c.number).order_by(ORDERS.c.id)).scalars())


def message(number: int) -> ReceivedMessage:
    return ReceivedMessage(number, b"", {}, "/queue/a", f"m{number}", False, 0)


def insert(message: ReceivedMessage, session: Session) -> None:
    session.execute(ORDERS.insert().values(number=message.payload))


def test_a_copy_is_not_handled_again(engine, inbox):
    inbox.run("shop.insert", "m1", insert, message(1))
    inbox.run("shop.insert", "m1", insert, message(1))
    inbox.run("shop.insert", "m2", insert, message(2))
    inbox.run("shop.other", "m1", insert, message(3))
    assert orders(engine) == [1, 2, 3]


def test_ids_that_a_database_takes_for_equal_are_two(engine, inbox):
    inbox.run("shop.insert", "aB ", insert, message(1))
    inbox.run("shop.insert", "ab", insert, message(2))
    assert orders(engine) == [1, 2]


def test_an_error_that_is_no_copy_is_raised(engine, inbox):
    with engine.begin() as connection:
        inbox.table.drop(connection)
        connection.exec_driver_sql(
            "CREATE TABLE stomp_web_inbox (id INTEGER, handler VARCHAR(255) UNIQUE, message_id VARCHAR(255), "
            "created_at TIMESTAMP)"
        )
    inbox.run("shop.insert", "m1", insert, message(1))
    with pytest.raises(IntegrityError):
        inbox.run("shop.insert", "m2", insert, message(2))


def test_a_handler_that_has_not_run_is_not_noted_as_handled(engine, inbox):
    async def never(message: ReceivedMessage, session: Session) -> None:
        insert(message, session)

    worker = Worker("stomp://127.0.0.1:1", inbox=inbox)
    worker.subscribe("/queue/orders", once=True)(lambda *arguments: never(*arguments))  # noqa: PLW0108
    executor = ThreadExecutor(list(worker.handlers), (), contextlib.nullcontext, inbox)
    job = Job("worker-1", {"content-type": "application/json"}, b"1", False, 0, identity="m1")

    for _ in range(2):
        failure = executor.execute(job)
        assert failure is not None
        assert "which is never run" in failure.error


def test_a_handler_that_fails_is_tried_again(engine, inbox):
    def fail(message: ReceivedMessage, session: Session) -> None:
        insert(message, session)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        inbox.run("shop.insert", "m1", fail, message(1))
    assert orders(engine) == []
    inbox.run("shop.insert", "m1", insert, message(1))
    assert orders(engine) == [1]


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
def test_of_two_copies_at_the_same_time_one_is_handled(engine, inbox):
    began, go = threading.Event(), threading.Event()

    def slow(message: ReceivedMessage, session: Session) -> None:
        began.set()
        assert go.wait(LIMIT)
        insert(message, session)

    first = threading.Thread(target=inbox.run, args=("shop.insert", "m1", slow, message(1)))
    second = threading.Thread(target=inbox.run, args=("shop.insert", "m1", insert, message(1)))
    first.start()
    assert began.wait(LIMIT)
    second.start()
    go.set()
    first.join(LIMIT)
    second.join(LIMIT)
    assert orders(engine) == [1]


def test_a_handler_that_commits_is_refused_and_leaves_nothing(engine, inbox):
    def commit(message: ReceivedMessage, session: Session) -> None:
        insert(message, session)
        session.commit()

    with pytest.raises(ConfigurationError, match=r"must not commit .* call session\.flush"):
        inbox.run("shop.insert", "m1", commit, message(1))
    assert orders(engine) == []
    inbox.run("shop.insert", "m1", insert, message(1))
    assert orders(engine) == [1]


def test_a_handler_that_ends_its_transaction_otherwise_is_refused_as_well(engine, inbox):
    def roll_back(message: ReceivedMessage, session: Session) -> None:
        session.rollback()
        insert(message, session)

    for end in (roll_back, lambda message, session: session.close()):
        with pytest.raises(ConfigurationError, match="has rolled back or closed its session"):
            inbox.run("shop.insert", "m1", end, message(1))
    assert orders(engine) == []


def test_a_handler_may_use_savepoints(engine, inbox):
    def nested(message: ReceivedMessage, session: Session) -> None:
        with session.begin_nested():
            insert(message, session)
        with session.begin_nested() as savepoint:
            insert(message, session)
            savepoint.rollback()

    inbox.run("shop.insert", "m1", nested, message(1))
    assert orders(engine) == [1]


def test_a_scoped_session_is_in_the_handler_what_it_is_given(engine):
    registry = scoped_session(sessionmaker(engine))
    metadata = MetaData()
    inbox = Inbox(metadata, registry)
    metadata.create_all(engine)
    METADATA.create_all(engine)

    def place(message: ReceivedMessage, session: Session) -> None:
        assert registry() is session
        registry.execute(ORDERS.insert().values(number=message.payload))

    for _ in range(2):
        inbox.run("shop.insert", "m1", place, message(1))
    registry.remove()
    assert orders(engine) == [1]


def test_what_makes_no_session_is_refused(engine):
    with Session(engine) as session, pytest.raises(ConfigurationError, match="a Session cannot be called"):
        Inbox(MetaData(), session)  # type: ignore[arg-type]


def test_a_missing_table_or_database_is_found_by_the_check(engine, inbox):
    inbox.check()
    inbox.table.drop(engine)
    with pytest.raises(ConfigurationError, match="there is no table stomp_web_inbox in"):
        inbox.check()
    with pytest.raises(ConfigurationError, match=r"give the inbox sessionmaker\(engine\)"):
        Inbox(MetaData(), sessionmaker()).check()


def test_the_check_finds_a_table_in_a_translated_schema(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", execution_options={"schema_translate_map": {None: "eu"}})
    event.listen(engine, "connect", lambda driver, _: driver.execute(f"ATTACH '{tmp_path}/eu.db' AS eu"))
    metadata = MetaData()
    inbox = Inbox(metadata, sessionmaker(engine))
    with pytest.raises(ConfigurationError, match="there is no table stomp_web_inbox in"):
        inbox.check()
    metadata.create_all(engine)
    inbox.check()
    engine.dispose()


def test_a_database_that_is_away_is_no_reason_not_to_start(tmp_path, caplog):
    Inbox(MetaData(), sessionmaker(create_engine(f"sqlite:///{tmp_path}/missing/shop.db"))).check()
    assert "the inbox stomp_web_inbox cannot be reached, and messages wait: unable to open" in caplog.text


def test_old_rows_are_removed(engine, inbox):
    inbox.run("shop.insert", "m1", insert, message(1))
    assert inbox.purge() == 0
    with engine.begin() as connection:
        old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=31)
        connection.execute(inbox.table.update().values(created_at=old))
    assert inbox.purge() == 1


def inbox_without_table() -> Inbox:
    return Inbox(MetaData(), sessionmaker(create_engine("sqlite://")))


class TestWorker:
    def test_a_message_that_was_sent_twice_is_handled_once(self, engine, inbox):
        with Broker() as broker:
            worker = Worker(broker.url, inbox=inbox, concurrency=2)
            done = threading.Event()

            @worker.subscribe("/queue/orders", once=True)
            def place(message: ReceivedMessage, session: Session) -> None:
                insert(message, session)
                if message.payload == 9:
                    done.set()

            run(worker, broker, done, [(1, "a"), (1, "a"), (2, "b"), (1, "a"), (9, "c")])
            assert sorted(orders(engine)) == [1, 2, 9]
            assert broker.messages("/queue/DLQ") == []

    def test_a_message_without_an_id_of_its_sender_is_not_handled_if_the_broker_gives_it_a_new_one_each_time(
        self, inbox
    ):
        worker = Worker("stomp://127.0.0.1:1", inbox=inbox)
        worker.subscribe("/queue/orders", once=True)(insert)
        executor = ThreadExecutor(list(worker.handlers), (), contextlib.nullcontext, inbox)

        failure = executor.execute(Job("worker-1", {"content-type": "application/json"}, b"1", False, 0))

        assert failure is not None
        assert failure.permanent
        assert "x-message-id" in failure.error

    def test_without_its_table_it_does_not_start(self, engine, inbox):
        inbox.table.drop(engine)
        with Broker() as broker:
            worker = Worker(broker.url, inbox=inbox)
            worker.subscribe("/queue/orders", once=True)(insert)
            with pytest.raises(ConfigurationError, match="there is no table stomp_web_inbox"):
                worker.run()
            assert broker.received("SUBSCRIBE") == 0

    def test_a_process_without_its_table_says_so_in_a_sentence(self, capfd):
        worker = Worker("stomp://127.0.0.1:1", inbox=inbox_without_table, processes=1)
        worker.subscribe("/queue/orders", once=True)(insert)
        with pytest.raises(
            ConfigurationError, match="cannot run the handlers: there is no table stomp_web_inbox in sqlite"
        ):
            worker.run()
        assert "Traceback" not in capfd.readouterr().err

    def test_a_fault_of_the_database_is_no_fault_of_the_message(self, engine, inbox, caplog):
        with Broker() as broker, Publisher(broker.url) as publisher:
            worker = Worker(broker.url, inbox=inbox, concurrency=1, max_redeliveries=0, retry_delay=0.01)
            done = threading.Event()

            @worker.subscribe("/queue/orders", once=True)
            def place(message: ReceivedMessage, session: Session) -> None:
                assert (message.failures, message.redelivered) == (0, False)
                insert(message, session)
                done.set()

            running = Running(worker).alive()
            inbox.table.drop(engine)
            publisher.send("/queue/orders", 1)
            assert eventually(lambda: worker.stats().retried >= 3, LIMIT)
            inbox.table.create(engine)
            assert done.wait(LIMIT)
            assert running.stop() == 0
            assert (worker.stats().failed, broker.messages("/queue/DLQ")) == (0, [])
        assert orders(engine) == [1]
        assert "from /queue/orders waits, the next try is in" in caplog.text

    def test_it_needs_an_inbox_and_two_arguments(self, inbox):
        lacking = Worker("stomp://127.0.0.1:1")
        lacking.subscribe("/queue/a", once=True)(lambda message, session: None)
        with pytest.raises(ConfigurationError, match="has no inbox"):
            lacking.run()
        one = Worker("stomp://127.0.0.1:1", inbox=inbox)
        one.subscribe("/queue/a", once=True)(lambda message: None)
        with pytest.raises(ConfigurationError, match="the message and the session"):
            one.run()


def run(worker: Worker, broker: Broker, done: threading.Event, messages: list[tuple[int, str]]) -> None:
    """Let *worker* handle *messages*: numbers, with their ids."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        with PublishClient("127.0.0.1", broker.port) as client:
            for number, identity in messages:
                headers: dict[str, Any] = {"x-message-id": identity} if identity else {}
                client.send("/queue/orders", str(number).encode(), headers, content_type="application/json")
        assert done.wait(LIMIT)
    finally:
        worker.stop()
        thread.join(LIMIT)
    assert not thread.is_alive()
