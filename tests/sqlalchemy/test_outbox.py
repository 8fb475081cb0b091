from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from sqlalchemy import MetaData, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from stomp_web import ConfigurationError, InvalidFrame, Publisher, SerializationError
from stomp_web.broker import Broker
from stomp_web.observers import SendSucceeded, StoreBegan
from stomp_web.outbox import OutboxStats
from stomp_web.outbox.claim import Outcomes
from stomp_web.sqlalchemy import Outbox
from stomp_web.sqlalchemy.store import SqlAlchemyStore, make_engine
from stomp_web.testing import capture
from tests.brokers.ports import free_ports
from tests.outbox.running import LIMIT, Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

SERVERS = ["postgresql", "mariadb"]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("memory://") as made:
        yield made


@pytest.fixture
def outbox(engine: Engine, publisher: Publisher) -> Outbox:
    metadata = MetaData()
    made = Outbox(metadata, publisher)
    metadata.create_all(engine)
    return made


def write(engine: Engine, outbox: Outbox, *payloads: object, key: str | None = None) -> None:
    with Session(engine) as session, session.begin():
        for payload in payloads:
            outbox.send(session, "/queue/orders", payload, key=key)


def written(engine: Engine, outbox: Outbox, payload: object) -> bool:
    """Write, and return whether that was possible: a connection of the pool may have ended."""
    try:
        write(engine, outbox, payload)
    except sqlalchemy.exc.OperationalError:
        return False
    return True


def payloads(publisher: Publisher) -> list[object]:
    return [message.payload for message in publisher.outbox]


def bodies(broker: Broker) -> list[object]:
    return [json.loads(frame.body) for frame in broker.messages("/queue/orders")]


def states(engine: Engine, outbox: Outbox) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(select(outbox.table.c.state).order_by(outbox.table.c.id)).scalars())


def make_due(engine: Engine, outbox: Outbox) -> None:
    """Let the pauses of all waiting rows be over."""
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    column = outbox.table.c
    with engine.begin() as connection:
        moved = outbox.table.update().where(column.next_attempt_at.is_not(None)).values(next_attempt_at=past)
        connection.execute(moved)


class TestWriting:
    def test_a_committed_message_is_relayed_as_it_would_have_been_sent(self, engine, outbox, publisher):
        with Session(engine) as session, session.begin():
            identity = outbox.send(
                session,
                "/queue/orders",
                {"id": 7},
                {"shop": "b\u00fccher:1\n"},
                priority=5,
                ttl=60,
                reply_to="/queue/r",
            )
        assert payloads(publisher) == []

        assert outbox.relay(engine).run(once=True) == 0

        (message,) = publisher.outbox
        assert (message.id, message.payload) == (identity, {"id": 7})
        assert message.headers["shop"] == "b\u00fccher:1\n"
        assert (message.headers["priority"], message.headers["reply-to"]) == ("5", "/queue/r")
        assert message.headers["persistent"] == "true"
        assert "expires" in message.headers
        assert states(engine, outbox) == []

    def test_a_message_of_a_transaction_that_is_rolled_back_is_gone(self, engine, outbox, publisher):
        with Session(engine) as session:
            outbox.send(session, "/queue/orders", 1)
            session.rollback()
            outbox.send(session, "/queue/orders", 2)
            session.commit()

        outbox.relay(engine).run(once=True)

        assert payloads(publisher) == [2]

    def test_what_cannot_be_sent_is_refused_and_nothing_is_written(self, engine, outbox):
        with Session(engine) as session, session.begin():
            with pytest.raises(SerializationError):
                outbox.send(session, "/queue/orders", object())
            with pytest.raises(InvalidFrame):
                outbox.send(session, "/queue/orders", 1, {"a": 1})
            with pytest.raises(InvalidFrame, match="destination must have at most 1024 characters"):
                outbox.send(session, "/queue/" + "a" * 1100, 1)
            for key in ("", "k" * 256, "a\0b", 7):
                with pytest.raises(ConfigurationError, match="key"):
                    outbox.send(session, "/queue/orders", 1, key=key)
            with pytest.raises(ConfigurationError, match="no confirm and no timeout"):
                outbox.send(session, "/queue/orders", 1, timeout=1)
            with pytest.raises(ConfigurationError, match="Session, a scoped_session or a Connection"):
                outbox.send(engine, "/queue/orders", 1)  # type: ignore[arg-type]
        assert states(engine, outbox) == []

    def test_without_its_table_it_is_refused_as_the_relay_refuses_it(self, engine, publisher):
        outbox = Outbox(MetaData(), publisher)
        with (
            Session(engine) as session,
            pytest.raises(
                ConfigurationError, match=r"there is no table stomp_web_outbox in .* create it by a migration"
            ),
        ):
            outbox.send(session, "/queue/orders", 1)

    def test_what_is_no_publisher_is_refused(self):
        with pytest.raises(
            ConfigurationError, match=r"not object; in Flask, it is app\.extensions\['stomp'\]\.publisher"
        ):
            Outbox(MetaData(), object())  # type: ignore[arg-type]

    @pytest.mark.parametrize(("name", "value"), [("content-type", "a" * 256), ("receipt", "mine")])
    def test_a_header_of_an_observer_that_cannot_be_stored_is_refused(self, engine, outbox, name, value):
        def spoil(event: object) -> None:
            if isinstance(event, StoreBegan):
                event.headers[name] = value

        outbox.publisher.observers.add(spoil)
        with Session(engine) as session, session.begin(), pytest.raises(InvalidFrame, match=name):
            outbox.send(session, "/queue/orders", 1)
        assert states(engine, outbox) == []

    def test_autocommit_is_refused(self, engine, outbox):
        events: list[object] = []
        outbox.publisher.observers.add(events.append)
        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        with Session(autocommit) as session, pytest.raises(ConfigurationError, match="autocommit"):
            outbox.send(session, "/queue/orders", 1)
        assert states(engine, outbox) == []
        assert events == []

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_autocommit_of_the_driver_is_refused(self, engine, outbox):
        autocommit = sqlalchemy.create_engine(engine.url, connect_args={"autocommit": True})
        try:
            with Session(autocommit) as session, pytest.raises(ConfigurationError, match="autocommit"):
                outbox.send(session, "/queue/orders", 1)
        finally:
            autocommit.dispose()
        assert states(engine, outbox) == []

    def test_a_row_holds_whatever_a_message_can(self, engine, outbox, publisher):
        body, text = bytes(range(256)) * 1000, "\U0001f4e6 B\u00fccher"
        with Session(engine) as session, session.begin():
            outbox.send(session, f"/queue/{text}", body, {text: text}, key=text, serializer="bytes")
        assert outbox.relay(engine).run(once=True) == 0
        (message,) = publisher.outbox
        assert (message.destination, message.payload, message.headers[text]) == (f"/queue/{text}", body, text)

    def test_the_moment_of_a_row_has_microseconds(self, engine, outbox):
        before = datetime.datetime.now(datetime.UTC)
        with Session(engine) as session, session.begin():
            outbox.send(session, "/queue/orders", 1, ttl=60)
        after = datetime.datetime.now(datetime.UTC)
        with outbox.store(engine).claim(1) as claim:
            moment = claim.rows[0].created_at
            assert moment is not None
            assert before <= moment <= after

    def test_a_connection_and_a_scoped_session_will_do(self, engine, outbox, publisher):
        with engine.begin() as connection:
            outbox.send(connection, "/queue/orders", 1)
        registry = scoped_session(sessionmaker(engine))
        outbox.send(registry, "/queue/orders", 2)
        registry.commit()
        registry.remove()

        outbox.relay(engine).run(once=True)

        assert payloads(publisher) == [1, 2]

    def test_the_table_is_in_the_metadata(self, outbox):
        assert outbox.table in outbox.table.metadata.sorted_tables

    def test_a_second_one_with_the_same_metadata_has_the_same_table(self, publisher):
        metadata = MetaData(schema="shop")
        first, second = Outbox(metadata, publisher), Outbox(metadata, publisher)
        assert first.table is second.table
        sqlalchemy.Table("other", metadata)
        with pytest.raises(sqlalchemy.exc.InvalidRequestError):
            Outbox(metadata, publisher, table="other")


def test_where_a_test_captures_messages_they_are_seen_as_sent(engine, publisher):
    metadata = MetaData()
    outbox = Outbox(metadata, publisher, relay="inline")
    metadata.create_all(engine)
    with capture() as messages, Session(engine) as session, session.begin():
        identity = outbox.send(session, "/queue/orders", 1, key="k")
        assert [message.id for message in messages] == [identity]
    assert [message.id for message in messages] == [identity]
    assert publisher.outbox == []


class TestInline:
    def test_the_process_that_commits_sends(self, engine, publisher):
        metadata = MetaData()
        outbox = Outbox(metadata, publisher, relay="inline", keep=1)
        metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            outbox.send(session, "/queue/orders", 1, key="k")
            with session.begin_nested() as savepoint:
                outbox.send(session, "/queue/orders", 2, key="k")
                savepoint.rollback()
            outbox.send(session, "/queue/orders", 3, key="k")
            assert payloads(publisher) == []

        assert payloads(publisher) == [1, 3]
        assert states(engine, outbox) == ["sent", "sent"]

    def test_what_it_cannot_send_is_left_to_the_relay(self, engine, caplog):
        metadata = MetaData()
        with Publisher("stomp://127.0.0.1:1", timeout=5) as nowhere:
            outbox = Outbox(metadata, nowhere, relay="inline")
            metadata.create_all(engine)
            with Session(engine) as session, session.begin():
                outbox.send(session, "/queue/orders", 1)

        assert states(engine, outbox) == ["pending"]


class TestRelay:
    def test_an_order_within_a_key_survives_a_refusal_and_others_do_not_wait(self, engine, monkeypatch):
        monkeypatch.setattr("stomp_web.outbox.relay._FIRST_PAUSE", 300.0)  # no second try before `make_due`
        metadata = MetaData()
        with Broker() as broker, Publisher(broker.url) as publisher:
            outbox = Outbox(metadata, publisher)
            metadata.create_all(engine)
            with Session(engine) as session, session.begin():
                outbox.send(session, "/queue/orders", 1, key="a")
                outbox.send(session, "/nowhere/orders", 2, key="a")
                outbox.send(session, "/queue/orders", 3, key="a")
                outbox.send(session, "/queue/orders", 4, key="b")
            relay = outbox.relay(engine, max_attempts=2)

            assert relay.run(once=True) == 1
            assert bodies(broker) == [1, 4]
            assert states(engine, outbox) == ["waiting", "waiting"]

            make_due(engine, outbox)
            assert relay.run(once=True) == 1
            assert states(engine, outbox) == ["failed", "waiting"]
            with engine.connect() as connection:
                error = connection.execute(
                    select(outbox.table.c.last_error).where(outbox.table.c.state == "failed")
                ).scalar_one()
            assert "Rejected" in error

            with engine.begin() as connection:  # the cause is gone
                moved = outbox.table.update().where(outbox.table.c.state == "failed")
                connection.execute(moved.values(destination="/queue/orders"))
            assert outbox.store(engine).retry() == 1
            assert relay.run(once=True) == 0
            assert bodies(broker) == [1, 4, 2, 3]

    def test_a_discarded_row_lets_those_behind_it_go_on(self, engine, outbox, publisher):
        write(engine, outbox, 1, 2, key="k")
        column = outbox.table.c
        with engine.begin() as connection:
            first = select(sqlalchemy.func.min(column.id)).scalar_subquery()
            connection.execute(outbox.table.update().where(column.id == first).values(headers="no JSON"))
        assert outbox.relay(engine).run(once=True) == 1
        assert states(engine, outbox) == ["failed", "waiting"]

        assert outbox.store(engine).discard() == 1
        assert outbox.relay(engine).run(once=True) == 0
        assert payloads(publisher) == [2]

    def test_keys_that_differ_in_case_or_accents_do_not_wait_for_each_other(self, engine, outbox, publisher):
        for key in ("order-a", "order-A", "\u00f6rder-a"):
            write(engine, outbox, key, key=key)
        column = outbox.table.c
        with engine.begin() as connection:
            connection.execute(outbox.table.update().where(column.key == "order-a").values(headers="no JSON"))
        assert outbox.relay(engine).run(once=True) == 1
        write(engine, outbox, "the next", key="order-A")
        assert outbox.relay(engine).run(once=True) == 1
        assert payloads(publisher) == ["order-A", "\u00f6rder-a", "the next"]

    def test_a_key_may_have_any_characters(self, engine, outbox, publisher):
        for key in ("'", '"', "\\", "{a,b}", "NULL", " ", "%s", ":a"):
            write(engine, outbox, [key, 1], [key, 2], key=key)
        column = outbox.table.c
        with engine.begin() as connection:  # as if the first of each key had been tried before
            heads = select(sqlalchemy.func.min(column.id)).group_by(column.key)
            waiting = list(connection.execute(select(column.id).where(column.id.not_in(heads))).scalars())
            connection.execute(outbox.table.update().where(column.id.in_(waiting)).values(state="waiting"))
        assert outbox.relay(engine).run(once=True) == 0
        assert [number for _, number in payloads(publisher)] == [1] * 8 + [2] * 8

    def test_rows_behind_many_that_wait_are_held_as_well(self, engine, outbox, publisher, monkeypatch):
        monkeypatch.setattr("stomp_web.outbox.store._MOST_OTHERS", 2)
        write(engine, outbox, *range(9), key="k")
        with engine.begin() as connection:
            first = select(sqlalchemy.func.min(outbox.table.c.id)).scalar_subquery()
            rows = outbox.table.update()
            connection.execute(rows.where(outbox.table.c.id < first + 8).values(state="waiting"))
            connection.execute(rows.where(outbox.table.c.id == first).values(state="failed"))
        write(engine, outbox, "another", key="l")
        assert outbox.relay(engine).run(once=True) == 1
        assert payloads(publisher) == ["another"]
        assert states(engine, outbox) == ["failed", *["waiting"] * 8]

    def test_large_bodies_are_claimed_one_by_one(self, engine, outbox, publisher, monkeypatch):
        monkeypatch.setattr("stomp_web.outbox.store._MOST_BYTES", 100)
        large = ["a" * 60, "b" * 60, "c" * 200]
        write(engine, outbox, *large, key="k")
        write(engine, outbox, 1)
        with outbox.store(engine).claim(10) as claim:
            assert [row.body for row in claim.rows] == [json.dumps(large[0]).encode()]
        assert outbox.relay(engine, batch=10).run(once=True) == 0
        assert payloads(publisher) == [*large, 1]

    def test_a_row_before_those_that_are_claimed_holds_up_its_key(self, engine, outbox):
        write(engine, outbox, 1, 2, key="k")
        write(engine, outbox, 3)
        store = outbox.store(engine)
        with store.claim(10) as claim:
            first = claim.rows[0].id
        with store.claim(10, after=first) as claim:
            assert [row.body for row in claim.rows] == [b"3"]

    def test_a_row_that_may_go_on_behind_the_back_of_a_relay_is_sent(self, engine, outbox, publisher):
        write(engine, outbox, *range(8))
        column = outbox.table.c
        with engine.begin() as connection:
            first = connection.execute(select(sqlalchemy.func.min(column.id))).scalar_one()
            change = outbox.table.update().where(column.id == first)
            connection.execute(change.values(state="failed"))

        def go_on(event: object) -> None:
            if isinstance(event, SendSucceeded) and len(publisher.outbox) == 6:
                publisher.observers.remove(go_on)
                with engine.begin() as connection:
                    connection.execute(change.values(state="pending"))

        publisher.observers.add(go_on)
        assert outbox.relay(engine, batch=2).run(once=True) == 0
        assert sorted(payloads(publisher)) == list(range(8))

    @pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
    def test_the_deletion_of_sent_rows_does_not_wait_for_the_disk(self, engine, outbox):
        def setting(connection: sqlalchemy.Connection) -> object:
            return connection.exec_driver_sql("SHOW synchronous_commit").scalar()

        write(engine, outbox, 1)
        store = outbox.store(engine)
        with store.claim(10) as claim:
            claim.record(Outcomes(sent=list(claim.rows)))
            assert setting(store._connection) == "off"
        with engine.connect() as connection:
            assert setting(connection) == "on"

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_who_writes_does_not_wait_for_a_relay_that_sends_and_no_relay_for_another(self, engine, outbox, publisher):
        write(engine, outbox, 1, 2, 3, key="k")
        store = outbox.store(engine)
        with store.claim(10) as claim:
            assert len(claim.rows) == 3
            write(engine, outbox, 4, key="k")
            write(engine, outbox, 5)
            with store_of_another(outbox, engine).claim(10) as other:
                assert [row.body for row in other.rows] == [b"5"]
                assert store_of_another(outbox, engine).stats().pending == 5

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_a_relay_that_has_sent_its_rows_does_not_wait_for_those_of_another(self, engine, outbox):
        write(engine, outbox, *range(10), key="a")
        write(engine, outbox, *range(10, 20), key="b")
        with store_of_another(outbox, engine).claim(10) as one, store_of_another(outbox, engine).claim(10) as other:
            assert [int(row.body) for claim in (one, other) for row in claim.rows] == list(range(20))
            one.record(Outcomes(sent=list(one.rows)))
            other.record(Outcomes(sent=list(other.rows)))
        assert states(engine, outbox) == []

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_rows_behind_a_sent_one_are_found_while_rows_of_other_keys_are_locked(self, engine, outbox):
        for key in ("other", "mine", "another"):
            write(engine, outbox, key, key=key)
        column = outbox.table.c
        with engine.begin() as connection:
            connection.execute(outbox.table.update().values(state="waiting"))
        ids = numbered(engine, outbox)
        with impatient(engine) as hurried, engine.begin() as connection:
            for key in ("other", "another"):  # for both at once, MariaDB would read the whole table, and lock it
                connection.execute(select(column.id).where(column.id == ids[key]).with_for_update())
            store = store_of_another(outbox, hurried)
            with store.transaction():
                sent = ["mine", *map(str, range(500))]  # for so many, MariaDB looks at all rows that wait
                assert store.waiting_behind(sent, 10) == [ids["mine"]]

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_a_lock_that_is_not_free_in_time_is_called_so_and_the_message_is_sent_after_it(
        self, engine, outbox, publisher, caplog
    ):
        write(engine, outbox, "first", "second", key="k")
        ids, column = numbered(engine, outbox), outbox.table.c
        with impatient(engine) as hurried:
            relay = outbox.relay(hurried, poll=0.1)
            with engine.begin() as connection:
                connection.execute(outbox.table.update().where(column.id == ids["second"]).values(state="waiting"))
            with engine.connect() as connection:
                connection.execute(select(column.id).where(column.id == ids["second"]).with_for_update())
                with Running(relay):
                    wait_until(lambda: "a lock of another transaction was in the way" in caplog.text)
                    connection.rollback()
                    wait_until(lambda: "second" in payloads(publisher))
                    wait_until(lambda: relay.stats().problem == "")
        assert "cannot be reached" not in caplog.text

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_a_deadlock_is_called_so_and_tried_again_at_once(self, engine, outbox, publisher, caplog):
        """Another transaction has the second row and wants the first; the relay has the first and wants the second."""
        write(engine, outbox, "first", "second", key="k")
        ids, column = numbered(engine, outbox), outbox.table.c
        with engine.begin() as connection:
            connection.execute(outbox.table.update().where(column.id == ids["second"]).values(state="waiting"))
        other = engine.connect()
        # Which of the two is ended: on PostgreSQL, who looks first; on MariaDB, who has written less.
        if engine.dialect.name == "postgresql":
            other.exec_driver_sql("SET LOCAL deadlock_timeout = '300s'")
        for _ in range(100):
            values = {"message_id": "", "destination": "/queue/a", "headers": "{}", "body": b"", "last_error": ""}
            values |= {"alias": "another", "created_at": datetime.datetime.now(datetime.UTC), "state": "failed"}
            other.execute(outbox.table.insert().values(values))
        other.execute(outbox.table.update().where(column.id == ids["second"]).values(attempts=0))
        wanting = threading.Thread(
            target=lambda: other.execute(select(column.id).where(column.id == ids["first"]).with_for_update())
        )

        def want(event: object) -> None:
            if isinstance(event, SendSucceeded) and not wanting.ident:
                wanting.start()
                wait_until(lambda: waits_for_a_lock(engine))

        publisher.observers.add(want)
        with other, Running(outbox.relay(engine, poll=0.1)):
            wait_until(lambda: "eadlock" in caplog.text)
            wanting.join(LIMIT)
            other.rollback()
            wait_until(lambda: "second" in payloads(publisher))
        assert "a lock of another transaction was in the way" in caplog.text
        assert "cannot be reached" not in caplog.text

    def test_all_rows_behind_those_that_are_sent_go_on_however_many_there_are(self, engine, outbox, publisher):
        with Session(engine) as session, session.begin():
            for number in range(1200):
                outbox.send(session, "/queue/orders", number, key=str(number % 400))
        column = outbox.table.c
        with engine.begin() as connection:
            first = select(sqlalchemy.func.min(column.id)).scalar_subquery()
            heads = outbox.table.update().where(column.id < first + 400)
            connection.execute(outbox.table.update().values(state="waiting"))
            connection.execute(heads.values(state="pending"))
        assert outbox.relay(engine).run(once=True) == 0
        assert len(publisher.outbox) == 1200

    def test_a_row_that_waits_for_none_goes_on(self, engine, outbox, publisher):
        write(engine, outbox, 1, key="k")
        with engine.begin() as connection:
            connection.execute(outbox.table.update().values(state="waiting"))  # the one before it was deleted by hand
        assert outbox.relay(engine).run(once=True) == 0
        assert payloads(publisher) == [1]

    def test_an_id_is_never_given_again(self, engine, outbox):
        """A relay on SQLite removes by its id what it has just sent; that must not be another message by now."""
        ids = []
        for number in range(2):
            write(engine, outbox, number)
            with engine.begin() as connection:
                ids.append(connection.execute(select(outbox.table.c.id)).scalar_one())
                connection.execute(outbox.table.delete())
        assert ids[0] < ids[1]

    def test_an_observer_may_write_to_the_outbox_while_a_relay_sends(self, engine, publisher):
        metadata = MetaData()
        outbox = Outbox(metadata, publisher, relay="inline")
        metadata.create_all(engine)

        def follow(event: object) -> None:
            if isinstance(event, SendSucceeded) and event.destination == "/queue/orders":
                with Session(engine) as session, session.begin():
                    outbox.send(session, "/queue/followers", 2)

        write(engine, Outbox(MetaData(), publisher), 1)
        publisher.observers.add(follow)
        assert outbox.relay(engine).run(once=True) == 0
        assert outbox.relay(engine).run(once=True) == 0
        assert sorted(payloads(publisher)) == [1, 2]
        assert states(engine, outbox) == []

    def test_an_error_of_the_database_does_not_show_the_body(self, engine, outbox):
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE stomp_web_outbox RENAME COLUMN alias TO other")
        with Session(engine) as session, pytest.raises(sqlalchemy.exc.DBAPIError) as raised:
            outbox.send(session, "/queue/orders", "the secret body")
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_a_database_that_ends_between_two_transactions_is_a_lost_one(self, engine, outbox, server):
        store = outbox.store(engine)
        store.stats()
        server.kill()
        server.go_on()
        with pytest.raises(store.lost):
            store.stats()
        assert store.stats().pending == 0

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_an_idle_connection_of_a_command_that_was_cut_is_noticed_before_its_next_use(self, engine, outbox, server):
        made = make_engine(engine.url.render_as_string(hide_password=False))
        store = store_of_another(outbox, made)
        store.stats()
        server.kill()
        server.go_on()
        assert store.stats().pending == 0
        made.dispose()

    @pytest.mark.parametrize("engine", SERVERS, indirect=True)
    def test_a_database_that_ends_under_an_idle_relay_is_waited_for(self, engine, outbox, publisher, server):
        # On PostgreSQL the relay listens; on MariaDB it looks.
        relay = outbox.relay(engine, poll=3600 if engine.dialect.name == "postgresql" else 0.1)
        with Running(relay):
            write(engine, outbox, 1)
            wait_until(lambda: relay.stats().sent == 1)  # and it is recorded: otherwise it would be sent again
            server.kill()
            server.go_on()
            wait_until(lambda: written(engine, outbox, 2))
            wait_until(lambda: 2 in payloads(publisher))

    def test_a_broker_that_is_away_is_waited_for(self, engine):
        metadata = MetaData()
        (port,) = free_ports(1)
        with Publisher(f"stomp://127.0.0.1:{port}") as publisher:
            outbox = Outbox(metadata, publisher)
            metadata.create_all(engine)
            write(engine, outbox, 1)
            assert outbox.relay(engine).run(once=True) == 1
            assert states(engine, outbox) == ["pending"]
            relay = outbox.relay(engine)
            with Running(relay):
                wait_until(lambda: str(port) in relay.stats().problem)
                with Broker(port=port) as again:
                    wait_until(lambda: len(again.messages("/queue/orders")) == 1)
                    wait_until(lambda: relay.stats().problem == "")

    def test_a_broker_that_is_away_is_logged_before_the_first_message(self, engine, caplog):
        caplog.set_level("INFO", "stomp_web.outbox")
        metadata = MetaData()
        (port,) = free_ports(1)
        with Publisher(f"stomp://127.0.0.1:{port}") as publisher:
            outbox = Outbox(metadata, publisher)
            metadata.create_all(engine)
            assert outbox.relay(engine).run(once=True) == 0  # there is nothing to send, and so no need of a broker
            assert "messages will wait" not in caplog.text
            with Running(outbox.relay(engine)):
                wait_until(lambda: "messages will wait in the outbox" in caplog.text)
                assert f"127.0.0.1:{port}" in caplog.text
                write(engine, outbox, 1)
                with Broker(port=port) as again:
                    wait_until(lambda: len(again.messages("/queue/orders")) == 1)
        assert caplog.records[-1].getMessage() == "stopped: 1 message was sent"

    def test_several_relays_send_each_message_once_and_in_the_order_of_its_key(self, engine, outbox, publisher):
        for first in range(0, 300, 20):
            with Session(engine) as session, session.begin():
                for number in range(first, first + 20):
                    outbox.send(session, "/queue/orders", number, key=str(number % 7))
        relays = [outbox.relay(engine, batch=10) for _ in range(3)]
        with Running(*relays):
            wait_until(lambda: len(publisher.outbox) >= 300)
        sent = [int(message.payload) for message in publisher.outbox]
        assert sorted(sent) == list(range(300))
        for key in range(7):
            mine = [number for number in sent if number % 7 == key]
            assert mine == sorted(mine)

    def test_rows_behind_an_outbox_without_a_relay_hold_up_only_their_keys(self, engine, outbox, publisher):
        audit = Outbox(outbox.table.metadata, publisher, alias="audit")
        for number in range(30):
            write(engine, audit, number, key=str(number))
            write(engine, outbox, number, key=str(number))
        write(engine, outbox, "free")
        with Running(outbox.relay(engine, batch=10)):
            wait_until(lambda: payloads(publisher) == ["free"])
            write(engine, outbox, "another", key="another")
            wait_until(lambda: payloads(publisher) == ["free", "another"])

    @pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
    def test_a_row_that_waits_for_long_is_looked_at_less_and_less_often(self, engine, outbox, publisher, monkeypatch):
        audit = Outbox(outbox.table.metadata, publisher, alias="audit")
        write(engine, audit, 1, key="k")
        write(engine, outbox, 2, key="k")
        relay = outbox.relay(engine)
        looks = []
        claim = relay.store.claim

        def noted(*args, **kwargs):
            looks.append(time.monotonic())
            return claim(*args, **kwargs)

        monkeypatch.setattr(relay.store, "claim", noted)
        with Running(relay):
            wait_until(lambda: len(looks) >= 7)
        assert looks[6] - looks[5] > 0.5

    @pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
    def test_a_lock_while_outcomes_are_recorded_causes_no_copy(self, engine, outbox, publisher, monkeypatch):
        locked, begun, tried = (threading.Event() for _ in range(3))
        impatient = sqlalchemy.create_engine(engine.url, connect_args={"timeout": 0.01})
        relay = outbox.relay(impatient)
        write(engine, outbox, 1)
        blocker = sqlite3.connect(engine.url.database, isolation_level=None, check_same_thread=False)

        def lock(event: SendSucceeded) -> None:
            if not locked.is_set():
                blocker.execute("BEGIN IMMEDIATE")
                locked.set()

        transaction = relay.store.transaction

        def noted():
            if locked.is_set() and begun.is_set():
                tried.set()
            elif locked.is_set():
                begun.set()
            return transaction()

        monkeypatch.setattr(relay.store, "transaction", noted)
        publisher.observers.add(lock)
        with Running(relay):
            assert tried.wait(LIMIT)
            blocker.execute("ROLLBACK")
            wait_until(lambda: states(engine, outbox) == [])
        assert payloads(publisher) == [1]
        blocker.close()
        impatient.dispose()

    @pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
    def test_a_commit_wakes_the_relay(self, engine, outbox, publisher):
        relay = outbox.relay(engine, poll=3600)
        with Running(relay):
            write(engine, outbox, 1)
            wait_until(lambda: len(publisher.outbox) == 1)
            write(engine, outbox, 2)
            wait_until(lambda: len(publisher.outbox) == 2)

    def test_sent_rows_are_kept_for_a_time(self, engine, publisher):
        metadata = MetaData()
        outbox = Outbox(metadata, publisher, keep=7)
        metadata.create_all(engine)
        write(engine, outbox, 1)
        outbox.relay(engine).run(once=True)
        assert states(engine, outbox) == ["sent"]
        assert outbox.store(engine).stats() == OutboxStats(sent=1)
        assert outbox.store(engine).purge(3600) == 0
        make_due(engine, outbox)
        assert outbox.store(engine).purge(3600) == 1

    def test_a_table_that_is_not_there_gets_a_sentence(self, engine, publisher):
        with pytest.raises(ConfigurationError, match="there is no table stomp_web_outbox"):
            Outbox(MetaData(), publisher).relay(engine).run(once=True)

    def test_a_message_that_waited_too_long_still_goes_to_the_broker(self, engine, outbox, publisher):
        with Session(engine) as session, session.begin():
            outbox.send(session, "/queue/orders", 1, ttl=60)
        with engine.begin() as connection:
            past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
            connection.execute(outbox.table.update().values(created_at=past))
        assert outbox.relay(engine).run(once=True) == 0
        assert payloads(publisher) == [1]

    @pytest.mark.parametrize("bad", [{"poll": 0}, {"batch": 0}, {"max_attempts": True}])
    def test_bad_options_are_refused(self, engine, outbox, bad: dict[str, Any]):
        with pytest.raises(ConfigurationError, match=next(iter(bad))):
            outbox.relay(engine, **bad)

    @pytest.mark.parametrize("bad", [{"relay": []}, {"keep": "7"}, {"alias": ""}, {"table": 7}, {"notify": "no"}])
    def test_bad_options_of_an_outbox_are_refused(self, publisher, bad: dict[str, Any]):
        with pytest.raises(ConfigurationError, match=next(iter(bad))):
            Outbox(MetaData(), publisher, **bad)


def store_of_another(outbox: Outbox, engine: Engine) -> SqlAlchemyStore:
    """A store with connections of its own, as another process has it."""
    return SqlAlchemyStore(engine, outbox.table)


def numbered(engine: Engine, outbox: Outbox) -> dict[str, int]:
    """The ids of the rows, by their payloads."""
    column = outbox.table.c
    with engine.connect() as connection:
        return {json.loads(body): id_ for id_, body in connection.execute(select(column.id, column.body))}


@contextlib.contextmanager
def impatient(engine: Engine) -> Iterator[Engine]:
    """An engine for the same database, whose transactions wait a second for a lock."""
    arguments = {
        "postgresql": {"options": "-c lock_timeout=1000"},
        "mariadb": {"init_command": "SET innodb_lock_wait_timeout = 1"},
    }
    made = sqlalchemy.create_engine(engine.url, connect_args=arguments[engine.dialect.name])
    yield made
    made.dispose()


def waits_for_a_lock(engine: Engine) -> bool:
    """Whether any transaction waits for a lock."""
    ask = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
        "mariadb": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }
    with engine.connect() as connection:
        return bool(connection.exec_driver_sql(ask[engine.dialect.name]).scalar())


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_the_check_finds_a_table_in_a_translated_schema(tmp_path, publisher):
    options = {"schema_translate_map": {"shop": "eu"}}
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db", execution_options=options)
    sqlalchemy.event.listen(engine, "connect", lambda driver, _: driver.execute(f"ATTACH '{tmp_path}/eu.db' AS eu"))
    outbox = Outbox(MetaData(schema="shop"), publisher)
    store = SqlAlchemyStore(engine, outbox.table)
    with pytest.raises(ConfigurationError, match=r"there is no table shop\.stomp_web_outbox in"):
        store.check()
    outbox.table.create(engine)
    store.check()
    write(engine, outbox, 1)
    assert outbox.relay(engine).run(once=True) == 0
    assert payloads(publisher) == [1]
    engine.dispose()
