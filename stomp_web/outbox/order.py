"""Chooses the rows that may be sent now and the rows that may be sent together. Rows of one key stay in order.

Two rules keep this order with any number of relays, without a lock for each key:

* A row may be claimed only if its key has no earlier unsent row, or if the previous unsent row of its key is in the
  same claim. A row that another relay has locked counts as unsent.
* Two rows of one key may be in one batch only if a broker would accept both rows or refuse both rows. So the rows may
  differ only in their bodies and in headers that brokers ignore. If the alias, the destination, the content type,
  the ttl or any other header differs, the later row is sent in a later batch, after the receipt of the earlier row. The
  reason is that RabbitMQ and ActiveMQ accept later messages of a batch even after an ERROR for an earlier message.
"""

from __future__ import annotations

import dataclasses
import json
import typing

from .rows import FAILED, WAITING, Row, RowRoute

__all__ = ["Candidate", "choose", "waves"]


# Headers that differ in each message and that brokers ignore.
_IDENTIFYING: typing.Final = frozenset(("correlation-id", "traceparent", "tracestate", "baggage"))


@dataclasses.dataclass(slots=True)
class Candidate:
    """A pending row that a relay has locked.

    `previous` is the id of the previous unsent row with the same key, or ``None``. `previous_state` is the state of
    this previous row. `size` is the length of the candidate's body, in bytes.
    """

    id: int
    key: str | None
    previous: int | None
    previous_state: str | None
    size: int

    @classmethod
    def of(cls, id: int, key: str | None, before: typing.Mapping[str, int | None], size: int) -> Candidate:
        """Return the candidate for the row with the id *id*. *size* is the length of the row's body, in bytes.

        *before* maps each state of unsent rows to an id. It is the id of the last earlier row that has this state and
        belongs to *key*, or ``None`` if no such row exists. The largest of these ids becomes `previous`.
        """
        previous, state = max(((each, state) for state, each in before.items() if each), default=(None, None))
        return cls(id, key, previous, state, size)


def choose(candidates: typing.Iterable[Candidate], most_bytes: int) -> tuple[list[int], list[Candidate], bool]:
    """Return the ids of the rows to send, the candidates that must wait, and whether all candidates were examined.

    *candidates* must be in the order of their ids. The returned ids have this order, too.

    * A candidate is chosen if it has no previous row, or if its previous row is chosen.
    * A candidate must wait if its `previous_state` is waiting or failed, or if its previous row must wait.
    * Any other candidate is in neither list. For example, another relay has locked its previous row.

    The bodies of the chosen rows have at most *most_bytes* bytes in all, unless only one row is chosen. If a
    candidate could be chosen but its body does not fit, `choose` stops. This candidate and all later candidates are in
    neither list.
    """
    chosen: dict[int, None] = {}
    held: dict[int, Candidate] = {}
    size = 0
    for each in candidates:
        if each.previous is None or each.previous in chosen:
            size += each.size
            if chosen and size > most_bytes:
                return list(chosen), list(held.values()), False
            chosen[each.id] = None
        elif each.previous in held or each.previous_state in {WAITING, FAILED}:
            held[each.id] = each
    return list(chosen), list(held.values()), True


def waves(rows: typing.Iterable[Row]) -> list[list[Row]]:
    """Divide *rows* into batches that must be sent one after the other. *rows* must be in the order of their ids."""
    found: list[list[Row]] = []
    last: dict[str, tuple[int, Row]] = {}  # by key: the wave of its last row, and that row
    for row in rows:
        number = 0
        if (key := row.key) is not None:
            if (known := last.get(key)) is not None:
                number, before = known
                if row.ttl != before.ttl or (row.route is not before.route and not _alike(row.route, before.route)):
                    number += 1
            last[key] = number, row
        if number == len(found):
            found.append([])
        found[number].append(row)
    return found


def _alike(route: RowRoute, other: RowRoute) -> bool:
    """Return whether the two routes differ only in headers that brokers ignore.

    Rows with such routes may be in one batch: a broker that refuses one of these rows also refuses the others.
    """
    return (
        route.destination == other.destination
        and route.alias == other.alias
        and route.content_type == other.content_type
        and (route.headers == other.headers or _judged(route.headers) == _judged(other.headers))
    )


def _judged(text: str) -> object:
    """Return only those headers of a message that can make a broker refuse the message.

    *text* is the JSON text of all headers. If *text* is not valid JSON, return *text* itself.
    """
    try:
        headers = json.loads(text)
    except ValueError:
        return text
    return {name: value for name, value in headers.items() if name not in _IDENTIFYING} if headers else headers
