from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session, sessionmaker

from stomp_web import BrokerUnavailable, ConfigurationError, Publisher, SerializationError
from stomp_web.observers import SendBegan, SendDeferred, SendSucceeded, StoreBegan
from stomp_web.sqlalchemy import Outbox, send_after_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

METADATA = MetaData()
ORDERS = Table("orders", METADATA, Column("id", Integer, primary_key=True, autoincrement=False))


class Base(DeclarativeBase):
    metadata = METADATA


class Order(Base):
    __table__ = ORDERS


HOW = ["after the commit", "by the outbox"]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("memory://") as made:
        yield made


@pytest.fixture(params=HOW)
def send(request: pytest.FixtureRequest, engine: Engine, publisher: Publisher) -> Callable[[Session, object], object]:
    """Both ways by which a message belongs to a session's transaction."""
    metadata = MetaData()
    outbox = Outbox(metadata, publisher, relay="inline")
    metadata.create_all(engine)
    METADATA.create_all(engine)
    if request.param == "by the outbox":
        return lambda session, payload: outbox.send(session, "/queue/a", payload)
    return lambda session, payload: send_after_commit(session, publisher, "/queue/a", payload)


def payloads(publisher: Publisher) -> list[object]:
    return [message.payload for message in publisher.outbox]


class TestTransactions:
    def test_commit(self, engine, publisher, send):
        with Session(engine) as session:
            session.execute(ORDERS.insert().values(id=1))
            send(session, 1)
            assert payloads(publisher) == []
            session.commit()
        assert payloads(publisher) == [1]

    def test_observers(self, engine, publisher, send, request):
        events: list[object] = []
        publisher.observers.add(events.append)
        with Session(engine) as session:
            send(session, "Zoë")
            (waits,) = events
            assert isinstance(waits, SendDeferred if "after the commit" in request.node.name else StoreBegan)
            assert (waits.destination, waits.body_bytes) == ("/queue/a", 6)
            session.commit()
        assert [type(event) for event in events[1:]] == [SendBegan, SendSucceeded]
        assert events[1].message_id == waits.message_id == publisher.outbox[0].id

    def test_rollback(self, engine, publisher, send):
        with Session(engine) as session:
            send(session, 1)
            session.rollback()
            session.commit()
        assert payloads(publisher) == []

    def test_a_session_that_is_closed_without_a_commit(self, engine, publisher, send):
        with Session(engine) as session:
            send(session, 1)
        assert payloads(publisher) == []

    def test_begin_as_a_block(self, engine, publisher, send):
        with Session(engine) as session, session.begin():
            send(session, 1)
        assert payloads(publisher) == [1]

    def test_an_exception_in_the_block(self, engine, publisher, send):
        def place() -> None:
            with Session(engine) as session, session.begin():
                send(session, 1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            place()
        assert payloads(publisher) == []

    def test_a_failed_commit(self, engine, publisher, send):
        with Session(engine) as session:
            session.execute(ORDERS.insert().values(id=1))
            session.commit()
            send(session, 1)
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                session.execute(ORDERS.insert().values(id=1))
            session.rollback()
        assert payloads(publisher) == []

    def test_a_commit_whose_flush_fails(self, engine, publisher, send):
        with Session(engine) as session:
            session.add(Order(id=1))
            session.commit()
        with Session(engine) as session:
            send(session, 1)
            session.add(Order(id=1))
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                session.commit()
            session.rollback()
            send(session, 2)
            session.add(Order(id=2))
            session.commit()
        assert payloads(publisher) == [2]

    def test_blocks_one_after_the_other_of_which_one_fails(self, engine, publisher, send):
        with Session(engine) as session:
            with session.begin():
                send(session, 1)
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                place_twice(session, send)
            with session.begin():
                send(session, 3)
        assert payloads(publisher) == [1, 3]

    def test_a_session_that_does_not_begin_by_itself(self, engine, publisher, send):
        events: list[object] = []
        publisher.observers.add(events.append)
        with Session(engine, autobegin=False) as session:
            with pytest.raises((sqlalchemy.exc.InvalidRequestError, ConfigurationError), match=r"begin\(\)"):
                send(session, 1)
            assert events == []
            with session.begin():
                send(session, 2)
            with session.begin():
                pass
        assert payloads(publisher) == [2]

    def test_a_factory_that_begins(self, engine, publisher, send):
        factory = sessionmaker(engine)
        with factory.begin() as session:
            send(session, 1)
            assert payloads(publisher) == []
        assert payloads(publisher) == [1]

    def test_a_savepoint_that_is_released(self, engine, publisher, send):
        with Session(engine) as session, session.begin():
            with session.begin_nested():
                send(session, 1)
                with session.begin_nested():
                    send(session, 2)
            assert payloads(publisher) == []
        assert payloads(publisher) == [1, 2]

    def test_a_rollback_to_a_savepoint(self, engine, publisher, send):
        with Session(engine) as session, session.begin():
            send(session, 1)
            outer = session.begin_nested()
            send(session, 2)
            with session.begin_nested():
                send(session, 3)
            outer.rollback()
            send(session, 4)
        assert payloads(publisher) == [1, 4]

    def test_a_savepoint_that_is_closed_without_a_release(self, engine, publisher, send):
        with Session(engine) as session, session.begin():
            savepoint = session.begin_nested()
            send(session, 1)
            savepoint.close()
            send(session, 2)
        assert payloads(publisher) == [2]

    def test_a_savepoint_whose_block_fails(self, engine, publisher, send):
        with Session(engine) as session, session.begin():
            session.add(Order(id=1))
            send(session, 1)
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                place_in_savepoint(session, send)
            send(session, 3)
        assert payloads(publisher) == [1, 3]

    def test_a_released_savepoint_in_a_savepoint_that_is_rolled_back(self, engine, publisher, send):
        with Session(engine) as session, session.begin():
            outer = session.begin_nested()
            with session.begin_nested():
                send(session, 1)
            outer.rollback()
            with session.begin_nested():
                send(session, 2)
        assert payloads(publisher) == [2]

    def test_a_released_savepoint_in_a_transaction_that_is_rolled_back(self, engine, publisher, send):
        with Session(engine) as session:
            with session.begin_nested():
                send(session, 1)
            session.rollback()
        assert payloads(publisher) == []

    def test_a_session_that_is_used_again(self, engine, publisher, send):
        with Session(engine) as session:
            send(session, 1)
            session.rollback()
            send(session, 2)
            session.commit()
            session.commit()
            send(session, 3)
            session.commit()
        assert payloads(publisher) == [2, 3]

    def test_a_session_that_is_closed_and_used_again(self, engine, publisher, send):
        session = Session(engine)
        send(session, 1)
        session.close()
        send(session, 2)
        session.commit()
        session.close()
        with session.begin_nested():
            send(session, 3)
        session.commit()
        session.close()
        assert payloads(publisher) == [2, 3]

    def test_a_commit_without_a_message_after_one_with_a_message(self, engine, publisher, send):
        with Session(engine) as session:
            send(session, 1)
            session.commit()
            session.add(Order(id=1))
            session.commit()
        assert payloads(publisher) == [1]

    def test_sessions_of_one_factory_do_not_mix(self, engine, publisher, send):
        factory = sessionmaker(engine, info={"shared": True})
        with factory() as one, factory() as two:
            send(one, 1)
            one.commit()
            send(two, 2)
            two.rollback()
        assert payloads(publisher) == [1]

    def test_a_scoped_session(self, engine, publisher, send):
        registry = scoped_session(sessionmaker(engine))
        send(registry, 1)
        registry.commit()
        registry.remove()
        assert payloads(publisher) == [1]

    @pytest.mark.parametrize("expire", [True, False])
    def test_what_was_true_at_the_send_is_sent(self, engine, publisher, send, expire):
        order = {"id": 1}
        with Session(engine, expire_on_commit=expire) as session:
            send(session, order)
            order["id"] = 2
            session.commit()
        assert payloads(publisher) == [{"id": 1}]

    @pytest.mark.parametrize("expire", [True, False])
    def test_the_objects_of_the_session_can_be_used_after_the_commit(self, engine, publisher, send, expire):
        with Session(engine, expire_on_commit=expire) as session:
            order = Order(id=7)
            session.add(order)
            send(session, {"id": order.id})
            session.commit()
            assert payloads(publisher) == [{"id": 7}]
            assert ("id" in sqlalchemy.inspect(order).expired_attributes) is expire
            assert order.id == 7

    @pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
    def test_two_phases(self, engine, publisher, send):
        with Session(engine, twophase=True) as session:
            send(session, 1)
            session.prepare()
            assert payloads(publisher) == []
            session.commit()
            send(session, 2)
            session.prepare()
            session.rollback()
        assert payloads(publisher) == [1]

    @pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
    def test_two_phases_with_savepoints_and_without_a_call_of_prepare(self, engine, publisher, send):
        with Session(engine, twophase=True) as session:
            send(session, 1)
            with session.begin_nested() as savepoint:
                send(session, 2)
                savepoint.rollback()
            with session.begin_nested():
                send(session, 3)
            session.commit()
            with session.begin():
                send(session, 4)
        assert payloads(publisher) == [1, 3, 4]

    @pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
    def test_two_phases_are_refused_by_sqlalchemy_with_sqlite(self, engine, publisher, send):
        with Session(engine, twophase=True) as session, pytest.raises(NotImplementedError):
            place(session, send)
        assert payloads(publisher) == []


def place(session: Session, send: Callable[[Session, object], object]) -> None:
    session.execute(ORDERS.insert().values(id=1))
    send(session, 1)
    session.commit()


def place_twice(session: Session, send: Callable[[Session, object], object]) -> None:
    with session.begin():
        send(session, 2)
        for _ in range(2):
            session.execute(ORDERS.insert().values(id=1))


def place_in_savepoint(session: Session, send: Callable[[Session, object], object]) -> None:
    """Place an order that is there already."""
    with session.begin_nested():
        send(session, 2)
        session.execute(ORDERS.insert().values(id=1))


class TestErrors:
    def test_the_error_of_the_broker_is_raised_at_the_commit_and_the_session_can_be_used(self, engine):
        METADATA.create_all(engine)
        with Publisher("stomp://127.0.0.1:1") as nowhere, Session(engine) as session:
            session.execute(ORDERS.insert().values(id=1))
            send_after_commit(session, nowhere, "/queue/a", 1)
            with pytest.raises(BrokerUnavailable):
                session.commit()
            assert session.execute(sqlalchemy.select(ORDERS.c.id)).scalars().all() == [1]

    def test_a_bad_message_is_refused_at_once(self, engine, publisher):
        with Session(engine) as session, pytest.raises(SerializationError):
            send_after_commit(session, publisher, "/queue/a", object())

    def test_a_connection_does_not_tell_when_it_commits(self, engine, publisher):
        with engine.connect() as connection, pytest.raises(ConfigurationError, match="Session"):
            send_after_commit(connection, publisher, "/queue/a", 1)
