from __future__ import annotations

import datetime

from stomp_web.outbox.order import Candidate, choose, waves
from stomp_web.outbox.rows import Row, RowRoute

NOW = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)


def candidate(number: int, key: str | None = None, size: int = 1, **before: int) -> Candidate:
    return Candidate.of(number, key, before, size)


def row(number: int, key: str | None, destination: str = "/queue/a", headers: str = "{}") -> Row:
    return Row(number, f"m{number}", b"", key, None, NOW, 0, RowRoute("default", destination, None, headers))


def test_rows_without_a_key_do_not_wait_for_each_other():
    assert choose([candidate(1), candidate(2)], 100) == ([1, 2], [], True)


def test_a_row_goes_with_the_one_before_it_in_its_key():
    assert choose([candidate(1, "k"), candidate(2, "k", pending=1)], 100) == ([1, 2], [], True)


def test_a_row_does_not_overtake_one_that_another_relay_has_locked():
    assert choose([candidate(1, "k"), candidate(3, "k", pending=2), candidate(4, "k", pending=3)], 100) == (
        [1],
        [],
        True,
    )


def test_rows_behind_one_that_waits_or_has_failed_are_held():
    waiting, failed = candidate(2, "k", waiting=1), candidate(6, "l", failed=5)
    behind = candidate(3, "k", waiting=1, pending=2)
    assert choose([waiting, behind, candidate(4), failed], 100) == ([4], [waiting, behind, failed], True)


def test_the_bodies_of_one_claim_are_bounded_and_a_large_one_goes_alone():
    rows = [candidate(1, size=60), candidate(2, size=60), candidate(3, size=200)]
    assert choose(rows, 100) == ([1], [], False)
    assert choose(rows[2:], 100)[0] == [3]


def numbers(rows: list[Row]) -> list[list[int]]:
    return [[each.id for each in wave] for wave in waves(rows)]


def test_alike_messages_of_one_key_travel_together():
    assert numbers([row(1, "k"), row(2, None), row(3, "k")]) == [[1, 2, 3]]


def test_a_message_that_may_be_accepted_where_the_one_before_is_refused_waits_for_its_receipt():
    other = row(2, "k", "/queue/b")
    assert numbers([row(1, "k"), other, row(3, "k", "/queue/b"), row(4, "l")]) == [[1, 4], [2, 3]]
    assert numbers([row(1, "k", headers='{"priority": "4"}'), row(2, "k", headers='{"priority": "x"}')]) == [[1], [2]]


def test_headers_that_only_identify_a_message_do_not_divide_a_batch():
    headers = ['{"traceparent": "00-1", "a": "b"}', '{"traceparent": "00-2", "a": "b"}']
    assert numbers([row(1, "k", headers=headers[0]), row(2, "k", headers=headers[1])]) == [[1, 2]]
