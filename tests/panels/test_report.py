"""What a panel shows of a collection."""

from __future__ import annotations

import json

import pytest

from stomp_web import Publisher, Rejected
from stomp_web.panels import make_report
from stomp_web.panels.collector import LIMIT, Collection, Outcome, Record
from stomp_web.panels.report import template


def made(*records: Record, seconds: float = 0.0, is_full: bool = False) -> Collection:
    collection = Collection()
    collection.records.extend(records)
    collection.seconds = seconds
    collection.is_full = is_full
    return collection


def record(outcome: Outcome = Outcome.CONFIRMED, seconds: float | None = 0.0042, **fields) -> Record:
    return Record("id-1", "/queue/orders", 1234, outcome, seconds, **fields)


def row(*arguments, **fields) -> dict[str, object]:
    (found,) = make_report(made(record(*arguments, **fields)))["rows"]
    return found


@pytest.mark.parametrize(
    ("collection", "subtitle"),
    [
        (made(), "no messages"),
        (made(record(), seconds=0.0042), "1 message in 4.2 ms"),
        (made(record(), record(), record(), seconds=0.0042), "3 messages in 4.2 ms"),
        (made(record(), seconds=0.000012), "1 message in 0.01 ms"),
        (made(record(), seconds=1.5), "1 message in 1,500.0 ms"),
        (made(record(Outcome.STORED, None)), "1 message"),
        (made(record(Outcome.REJECTED), record(), seconds=0.0042), "2 messages in 4.2 ms, 1 failed"),
        (made(record(), seconds=2, is_full=True), f"more than {LIMIT} messages in 2,000.0 ms"),
    ],
)
def test_the_subtitle(collection, subtitle):
    assert make_report(collection)["subtitle"] == subtitle


def test_a_row():
    assert row() == {
        "destination": "/queue/orders",
        "outcome": "confirmed",
        "failed": False,
        "note": "",
        "time": "4.2",
        "size": "1,234",
        "id": "id-1",
    }


@pytest.mark.parametrize(
    ("found", "outcome", "note"),
    [
        (row(Outcome.SENT), "sent, not confirmed", ""),
        (row(Outcome.NOT_SENT, error="PoolTimeout: busy"), "not sent", "PoolTimeout: busy."),
        (row(Outcome.NOT_SENT, error="E: away; nothing was sent"), "not sent", "E: away."),
        (row(Outcome.UNKNOWN, error="E: lost"), "unknown", "E: lost."),
        (
            row(Outcome.STORED, None, stored=True),
            "in the outbox",
            "A relay sends it after the commit. "
            "Nothing is stored if the call failed or the transaction is rolled back.",
        ),
        (
            row(Outcome.REJECTED, error="Rejected: no", stored=True),
            "rejected",
            "Rejected: no. It stays in the outbox.",
        ),
        (row(Outcome.DEFERRED, None), "not sent yet", "The transaction was rolled back, or is still open."),
        (row(Outcome.SENDING, None), "being sent", "The send had not ended when the response was ready."),
        (
            row(Outcome.CONFIRMED, error="E: no", sends=2),
            "confirmed",
            "An earlier send has failed: E: no. It was sent 2 times.",
        ),
    ],
)
def test_outcomes_and_their_notes(found, outcome, note):
    assert (found["outcome"], found["note"]) == (outcome, note)
    assert found["failed"] is (outcome in ("not sent", "rejected", "unknown"))


def test_a_message_of_a_batch_has_the_time_of_the_batch():
    found = row(together=3)
    assert (found["time"], found["note"]) == ("4.2", "In a batch of 3.")


def test_a_message_that_was_not_sent_has_no_time():
    assert row(Outcome.STORED, None)["time"] == ""


def test_texts_are_harmless_and_not_too_long():
    long = Record("\u202eid", "/queue/" + "a" * 2000, 1, Outcome.UNKNOWN, error="E: \x1b[31m\n")
    (found,) = make_report(made(long))["rows"]
    assert found["id"] == "\\u202eid"
    assert len(str(found["destination"])) < 1020
    assert found["note"] == "E: \\x1b[31m\\n."


def test_no_secret_and_no_body_is_in_it(broker, collection):
    broker.faults.error("SEND", "No")
    with Publisher(
        broker.url, login="shop", passcode="open sesame", serializer="signed-json", signing_keys=["k" * 32]
    ) as publisher:
        with pytest.raises(Rejected):
            publisher.send("/queue/orders", {"card": "4111 1111"})
        publisher.send("/queue/orders", {"card": "4111 1111"}, {"authorization": "a header"})
    text = json.dumps(make_report(collection))
    assert text.count("/queue/orders") >= 2
    for secret in ("open sesame", "kkkk", "4111", "a header"):
        assert secret not in text


@pytest.mark.parametrize("limit", ["", str(LIMIT)])
def test_the_template_is_the_same_in_django_and_in_jinja(limit):
    """Apart from the white space around tags."""
    django, jinja2 = pytest.importorskip("django.template"), pytest.importorskip("jinja2")
    report = make_report(
        made(
            record(),
            Record("<b>id</b>", "/queue/<script>alert('x')</script>", 1, Outcome.REJECTED, 1.0, error='E: "&"<\'>'),
            is_full=bool(limit),
        )
    )
    assert report["limit"] == limit
    for each in (report, make_report(made())):
        pages = [
            django.Engine().from_string(template()).render(django.Context(each)),
            jinja2.Environment(autoescape=True).from_string(template()).render(each),
        ]
        first, second = ("".join(page.split()).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") for page in pages)
        assert first == second
        assert "<script" not in first
        assert "<b>" not in first
        assert bool(each["rows"]) is ("/queue/&lt;script&gt;" in first)
        assert bool(each["limit"]) is (f"first{LIMIT}arelisted" in first)
