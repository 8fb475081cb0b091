"""What the store reads in one batch, and what it leaves as the application made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import Session

from stomp_web import Publisher
from stomp_web.sqlalchemy import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


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


def test_messages_of_one_batch_have_their_own_destination_headers_and_content_type(engine, outbox, publisher):
    sent = [
        (f"/queue/{number % 3}", {"tenant": f"t-{number % 2}"}, ("json", "text")[number % 5 > 0], f"body {number}")
        for number in range(30)
    ]
    with Session(engine) as session, session.begin():
        for number, (destination, headers, serializer, payload) in enumerate(sent):
            outbox.send(session, destination, payload, headers, serializer=serializer, key=f"k{number}")

    assert outbox.relay(engine, batch=30).run(once=True) == 0

    assert [
        (each.destination, {"tenant": each.headers["tenant"]}, each.payload, "json" in each.headers["content-type"])
        for each in publisher.outbox
    ] == [(destination, headers, payload, serializer == "json") for destination, headers, serializer, payload in sent]


def test_an_id_and_a_body_may_have_any_characters(engine, outbox, publisher):
    ids = ["plain-1", "b\u00fccher", "a:b\\c", "two\nlines\r"]
    content = bytes(range(256))
    with Session(engine) as session, session.begin():
        for each in ids:
            outbox.send(session, "/queue/orders", content, {"x-message-id": each}, serializer="bytes", key=each)

    assert outbox.relay(engine).run(once=True) == 0

    assert [(each.id, each.body) for each in publisher.outbox] == [(each, content) for each in ids]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_relay_works_with_the_client_cursors_of_psycopg(engine, outbox, publisher):
    psycopg = pytest.importorskip("psycopg")
    if engine.driver != "psycopg":
        pytest.skip("only psycopg has client cursors")
    with Session(engine) as session, session.begin():
        outbox.send(session, "/queue/orders", b"\x00\xff", serializer="bytes", key="k")
    application = sqlalchemy.create_engine(engine.url, connect_args={"cursor_factory": psycopg.ClientCursor})
    try:
        assert outbox.relay(application).run(once=True) == 0
    finally:
        application.dispose()

    assert [each.body for each in publisher.outbox] == [b"\x00\xff"]


def test_a_relay_adds_no_listener_to_the_engine_of_the_application(engine, outbox):
    seen: list[str] = []
    sqlalchemy.event.listen(engine, "do_execute", lambda cursor, statement, *_: seen.append(statement))
    for _ in range(2):
        outbox.relay(engine).run(once=True)
    seen.clear()
    with engine.begin() as connection:
        connection.execute(sqlalchemy.select(outbox.table.c.id))

    assert len(seen) == 1
