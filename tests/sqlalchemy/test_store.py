"""What the store reads in one batch, and what it leaves as the application made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
def test_only_the_statement_with_which_a_relay_reads_rows_has_a_binary_result(engine, outbox):
    formats: list[Any] = []

    def note(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if "body" in statement and "FOR UPDATE" in statement:
            formats.append(bool(cursor.pgresult.fformat(0)))

    sqlalchemy.event.listen(engine, "after_cursor_execute", note)
    with Session(engine) as session, session.begin():
        outbox.send(session, "/queue/orders", b"\x00\xff", serializer="bytes", key="k")
    outbox.relay(engine, batch=1).run(once=True)
    by_relay, formats[:] = formats[0], []
    with engine.begin() as connection:
        connection.execute(sqlalchemy.select(outbox.table.c.body).with_for_update())

    assert (by_relay, formats) == (True, [False])
