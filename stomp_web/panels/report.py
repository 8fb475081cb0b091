"""The content of a panel: texts and rows to show, and the template of the table.

The template uses only the syntax that the template languages of Django and Jinja have in common. Each framework renders
the template, and escapes the values.
"""

from __future__ import annotations

import functools
import importlib.resources
import typing

from .._internal.printable import harmless, sentence, without_outcome
from .collector import LIMIT, Collection, Outcome, Record

__all__ = ["TITLE", "Report", "make_report", "template"]

TITLE: typing.Final = "STOMP messages"
_LONGEST = 500  # characters of one text

_NOTES: typing.Final = {
    Outcome.SENDING: "The send had not ended when the response was ready.",
    Outcome.STORED: (
        "A relay sends it after the commit. Nothing is stored if the call failed or the transaction is rolled back."
    ),
    Outcome.DEFERRED: "The transaction was rolled back, or is still open.",
}


class Row(typing.TypedDict):
    """One message in the table. All values are texts, except for *failed*."""

    destination: str
    outcome: str
    failed: bool
    note: str
    time: str
    size: str
    id: str


class Report(typing.TypedDict):
    """The content of a panel. All values have JSON types, because django-debug-toolbar may store the content as JSON.

    *subtitle* is a text such as ``3 messages in 4.2 ms``. *milliseconds* is the total time of all calls. If the table
    shows all messages, *limit* is empty. Otherwise, *limit* is the number of shown messages, as text.
    """

    rows: list[Row]
    subtitle: str
    milliseconds: float
    limit: str


def make_report(collection: Collection) -> Report:
    """Return the content of a panel for *collection*."""
    records = list(collection.records)
    return {
        "rows": [_row(record) for record in records],
        "subtitle": _subtitle(records, collection),
        "milliseconds": collection.seconds * 1000,
        "limit": str(LIMIT) if collection.is_full else "",
    }


@functools.cache
def template() -> str:
    """Return the template of a panel's table of messages. The context of the template is a `Report`."""
    return importlib.resources.files(__package__).joinpath("messages.html").read_text(encoding="utf-8")


def _subtitle(records: list[Record], collection: Collection) -> str:
    if not records:
        return "no messages"
    count = f"more than {LIMIT} messages" if collection.is_full else _number(len(records), "message")
    time = f" in {_time(collection.seconds)} ms" if any(record.seconds is not None for record in records) else ""
    failures = collection.failures
    return f"{count}{time}, {failures} failed" if failures else f"{count}{time}"


def _row(record: Record) -> Row:
    return {
        "destination": _short(record.destination),
        "outcome": record.outcome.value,
        "failed": record.outcome.failed,
        "note": _note(record),
        "time": "" if record.seconds is None else _time(record.seconds),
        "size": f"{record.body_bytes:,}",
        "id": _short(record.message_id),
    }


def _note(record: Record) -> str:
    """Return the sentences about *record*. The table shows these sentences below the outcome."""
    notes = [_NOTES.get(record.outcome, "")]
    if record.together > 1:
        notes.append(f"In a batch of {record.together}.")
    if record.error:
        error = sentence(_short(without_outcome(record.error)))
        notes.append(error if record.outcome.failed else f"An earlier send has failed: {error}")
    if record.sends > 1:
        notes.append(f"It was sent {record.sends} times.")
    if record.stored and record.outcome.failed:
        notes.append("It stays in the outbox.")
    return " ".join(filter(None, notes))


def _time(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:,.1f}" if milliseconds >= 1 else f"{milliseconds:.2f}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _short(text: str) -> str:
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return harmless(text, lines=False)
