"""Pickles, text and bytes."""

from __future__ import annotations

import datetime as dt
import pickle
import uuid

import pytest

from stomp_web import SerializationError
from stomp_web.serializers import SerializedPayload, deserialize
from tests.serializers.payloads import Color, Order, read, write


class TestPickle:
    def test_any_python_value_comes_back_as_it_was(self):
        payload = {"date": dt.datetime(2026, 1, 2), "set": {1, 2}, Color.RED: b"\0", 3: Order(uuid.UUID(int=1), [])}
        assert read(write("pickle", payload), accept=["pickle"]) == payload

    def test_it_is_the_highest_protocol(self):
        assert write("pickle", 1).body == pickle.dumps(1, protocol=pickle.HIGHEST_PROTOCOL)

    def test_reading_is_refused_unless_accepted_by_name(self):
        with pytest.raises(SerializationError, match="was not read") as failure:
            read(write("pickle", 1))
        assert failure.value.serializer == "pickle"

    def test_a_refused_pickle_is_not_even_looked_at(self):
        headers = {"content-type": "application/x-python-serialize"}
        opened = []

        class Trap:
            def __reduce__(self):
                return (opened.append, (1,))

        body = b"cbuiltins\nexec\n(S'raise SystemExit'\ntR."
        for accept in ((), ("json",), ("signed-pickle",)):
            with pytest.raises(SerializationError):
                deserialize(body, headers, accept=accept, keys=["key"])

    def test_accepting_one_name_as_a_text_does_not_accept_parts_of_it(self):
        with pytest.raises(SerializationError, match="was not read"):
            read(write("pickle", 1), accept="signed-pickle", keys=["key"])
        assert read(write("pickle", 1), accept="pickle") == 1

    def test_what_cannot_be_pickled_is_refused(self):
        with pytest.raises(SerializationError) as failure:
            write("pickle", lambda: None)
        assert failure.value.serializer == "pickle"

    @pytest.mark.parametrize("body", [b"", b"garbage", pickle.dumps([1])[:-2], b"cno_such_module\nx\n."])
    def test_a_broken_pickle_is_refused(self, body):
        with pytest.raises(SerializationError):
            deserialize(body, {"content-type": "application/x-python-serialize"}, accept=["pickle"])


class TestTextAndBytes:
    def test_text_is_utf_8(self):
        done = write("text", "Zoë\0")
        assert done == SerializedPayload("Zoë\0".encode(), "text/plain;charset=utf-8", {})
        assert read(done) == "Zoë\0"

    @pytest.mark.parametrize("payload", [b"a", 1, None, ["a"], "\ud800"])
    def test_anything_else_is_no_text(self, payload):
        with pytest.raises(SerializationError):
            write("text", payload)

    @pytest.mark.parametrize("payload", [b"a\0b", bytearray(b"a\0b"), memoryview(b"a\0b"), memoryview(b"xa\0b")[1:]])
    def test_bytes_travel_as_they_are(self, payload):
        done = write("bytes", payload)
        assert done == SerializedPayload(b"a\0b", "application/octet-stream", {})
        assert read(done) == b"a\0b"

    @pytest.mark.parametrize("payload", ["a", 1, None, [1]])
    def test_anything_else_is_no_bytes(self, payload):
        with pytest.raises(SerializationError):
            write("bytes", payload)

    def test_a_body_that_is_no_utf_8_is_no_text(self):
        with pytest.raises(SerializationError):
            deserialize(b"\xff", {"content-type": "text/plain;charset=utf-8"})
