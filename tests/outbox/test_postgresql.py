from __future__ import annotations

from stomp_web.outbox.postgresql import array


def test_an_array_is_one_text():
    assert array([1, 22]) == "{1,22}"
    assert array(["a", 'b"c', "d\\e,{f}", "NULL"]) == r'{"a","b\"c","d\\e,{f}","NULL"}'
    assert array([]) == "{}"
