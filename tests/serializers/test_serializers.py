"""Payloads to bodies and back, by name."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pickle
import sys
import tracemalloc
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stomp_web import ConfigurationError, SerializationError
from stomp_web import serializers as module
from stomp_web.serializers import (
    SIGNATURE,
    SerializedPayload,
    Serializer,
    deserialize,
    get_serializer,
    json_form,
    register,
)

QUEUE = "/queue/a"


def write(name, payload, destination=QUEUE, keys=()):
    return get_serializer(name).serialize(payload, destination=destination, keys=keys)


def read(done, destination=QUEUE, **options):
    headers = {"destination": destination, "content-type": done.content_type, **done.headers}
    return deserialize(done.body, headers, **options)


def to_json(payload):
    return write("json", payload).body.decode()


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Name(str, enum.Enum):  # noqa: UP042 - str() of it is not its value, as with StrEnum
    ANN = "ann"


@dataclasses.dataclass
class Line:
    article: str
    price: decimal.Decimal


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    lines: list[Line]
    color: Color = Color.RED


class TestJson:
    def test_it_is_compact_utf_8(self):
        done = write("json", {"name": "Zoë ☃", "list": [1, 2.5, None, True]})
        assert done.body == '{"name":"Zoë ☃","list":[1,2.5,null,true]}'.encode()
        assert done.content_type == "application/json"
        assert done.headers == {}

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
            (dt.datetime(2026, 1, 2, 3, 4, 5, 678900), "2026-01-02T03:04:05.678900"),
            (dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), "2026-01-02T03:04:05.000006Z"),
            (dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2026-01-02T00:00:00+02:00"),
            (dt.date(2026, 1, 2), "2026-01-02"),
            (dt.time(3, 4, 5, 6), "03:04:05.000006"),
            (dt.timedelta(0), "P0DT00H00M00S"),
            (dt.timedelta(days=1, hours=2, minutes=3, seconds=4, microseconds=5), "P1DT02H03M04.000005S"),
            (dt.timedelta(seconds=-90), "-P0DT00H01M30S"),
            (dt.timedelta.min, "-P999999999DT00H00M00S"),
            (decimal.Decimal("1.10"), "1.10"),
            (decimal.Decimal("1E+5"), "1E+5"),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (Color.RED, "red"),
            (Name.ANN, "ann"),
        ],
    )
    def test_a_value_without_a_form_in_json_is_written_as_text(self, value, text):
        assert to_json(value) == json.dumps(text)

    def test_an_int_enum_is_its_number(self):
        assert to_json(Size.BIG) == "3"

    def test_a_dataclass_is_an_object_all_the_way_down(self):
        order = Order(uuid.UUID(int=7), [Line("a", decimal.Decimal("9.90"))])
        assert json.loads(to_json(order)) == {
            "id": "00000000-0000-0000-0000-000000000007",
            "lines": [{"article": "a", "price": "9.90"}],
            "color": "red",
        }

    @pytest.mark.parametrize("has_c_part", [True, False])
    def test_it_writes_what_the_standard_library_writes(self, monkeypatch, has_c_part):
        if not has_c_part:
            monkeypatch.setattr(json.encoder, "c_make_encoder", None)
        write_json = module._make_writer()
        deep: list = []
        for _ in range(200):
            deep = [{"a": deep}]
        shared = {"x": 1}
        for payload in (
            "a\"\\/\b\n\u2028\x00\x7f\U0001f600 ü", "", 0, -1.5e-300, 10**40, True, None, [], {}, (), [[]], {"": {}},
            {"b": 1, "a": 2, 3: 4, 1.5: None, True: False}, [shared, shared], deep, collections.OrderedDict(z=1, a=2),
            [Color.RED, Name.ANN, Size.BIG, dt.date(2026, 1, 2), decimal.Decimal("1.10")], 0.1 + 0.2, 1e16,
        ):  # fmt: skip
            expected = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), default=json_form)
            assert write_json(payload) == write_json(payload) == expected

    def test_the_same_object_may_be_written_by_many_threads(self):
        """Each would find what another one is in the middle of, if they shared their notes, and call it circular."""
        payload = {"lines": [{"id": number, "when": dt.date(2026, 1, 2)} for number in range(200)]}
        expected = to_json(payload)
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with concurrent.futures.ThreadPoolExecutor(4) as threads:
                assert set(threads.map(lambda _: to_json(payload), range(100))) == {expected}
        finally:
            sys.setswitchinterval(before)

    def test_a_tuple_is_a_list(self):
        assert to_json((1, (2,))) == "[1,[2]]"

    def test_keys_of_numbers_become_texts_as_in_the_standard_library(self):
        assert to_json({1: "a", None: "b"}) == '{"1":"a","null":"b"}'

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), decimal.Decimal("NaN")])
    def test_nan_and_infinities_are_refused(self, value):
        with pytest.raises(SerializationError, match=r"NaN|a Decimal"):
            write("json", {"a": [value]})

    @pytest.mark.parametrize(
        ("value", "hint"),
        [(b"a", "bytes"), (bytearray(b"a"), "bytes"), ({1}, "list"), (frozenset(), "list"), (object(), "pickle")],
    )
    def test_what_has_no_form_is_refused_with_a_hint(self, value, hint):
        with pytest.raises(SerializationError, match=hint) as failure:
            write("json", {"a": value})
        assert failure.value.serializer == "json"
        assert QUEUE in str(failure.value)

    @pytest.mark.parametrize("key", [(1, 2), dt.date(2026, 1, 2), b"a", Color.RED])
    def test_a_key_that_is_no_text_is_refused(self, key):
        with pytest.raises(SerializationError):
            write("json", {key: 1})

    def test_a_class_is_not_taken_for_its_instance(self):
        with pytest.raises(SerializationError):
            write("json", Line)

    def test_a_cycle_is_refused(self):
        cycle: list = []
        cycle.append(cycle)
        with pytest.raises(SerializationError, match="Circular reference"):
            write("json", cycle)
        cycle[:] = [1]
        assert to_json(cycle) == "[1]"  # nothing is kept of it

    def test_a_large_cycle_is_refused_before_it_is_written(self):
        cycle: dict = {"text": "x" * 100_000}
        cycle["again"] = cycle
        tracemalloc.start()
        try:
            with pytest.raises(SerializationError, match="Circular reference"):
                write("json", cycle)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()

    def test_a_form_may_itself_be_made_with_json(self):
        class Envelope:
            def __init__(self, inside):
                self.inside = inside

        @json_form.register(Envelope)
        def _(envelope):
            return to_json(envelope.inside)

        order = {"id": 7}
        assert json.loads(to_json([order, {"sent": Envelope(order)}, order])) == [order, {"sent": '{"id":7}'}, order]

    def test_a_nesting_too_deep_is_refused(self):
        deep: list = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(SerializationError):
            write("json", deep)

    def test_half_a_surrogate_pair_is_refused(self):
        with pytest.raises(SerializationError):
            write("json", "\ud800")

    def test_a_type_of_one_s_own_can_be_registered(self):
        class Money:
            pass

        json_form.register(Money, lambda money: "1 EUR")
        assert to_json([Money()]) == '["1 EUR"]'

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        )
    )
    @settings(max_examples=50, deadline=None)
    def test_what_json_has_comes_back_as_it_was(self, payload):
        assert read(write("json", payload)) == payload

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a":1}x'])
    def test_a_body_that_is_no_json_is_refused_and_not_shown(self, body):
        with pytest.raises(SerializationError) as failure:
            deserialize(body, {"content-type": "application/json", "destination": QUEUE})
        assert QUEUE in str(failure.value)
        assert failure.value.serializer == "json"


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


class TestChoosing:
    @pytest.mark.parametrize(
        ("content_type", "payload"),
        [
            ("application/json", 1),
            ("application/json; charset=utf-8", 1),
            ("Application/JSON", 1),
            ("text/plain", "1"),
            ("text/html;charset=utf-8", "1"),
            ("application/octet-stream", b"1"),
            (None, b"1"),
        ],
    )
    def test_the_content_type_tells_how_a_body_is_read(self, content_type, payload):
        assert deserialize(b"1", {} if content_type is None else {"content-type": content_type}) == payload

    @pytest.mark.parametrize("content_type", ["image/png", "application/json;signed=other", ""])
    def test_a_content_type_that_nobody_knows_is_refused(self, content_type):
        with pytest.raises(SerializationError, match="content type"):
            deserialize(b"1", {"content-type": content_type})

    @pytest.mark.parametrize("name", ["yaml", "", None, ["json"], "JSON"])
    def test_a_serializer_that_does_not_exist_is_told_which_there_are(self, name):
        with pytest.raises(ConfigurationError, match="bytes, json, pickle, signed-json, signed-pickle, text"):
            get_serializer(name)


class TestSigned:
    @pytest.mark.parametrize("name", ["signed-json", "signed-pickle"])
    def test_what_was_signed_comes_back(self, name):
        done = write(name, {"id": 7}, keys=["key"])
        assert SIGNATURE in done.headers
        assert read(done, accept=[name], keys=["key"]) == {"id": 7}

    def test_the_body_can_be_read_by_anybody(self):
        assert write("signed-json", {"id": 7}, keys=["key"]).body == b'{"id":7}'

    def test_a_key_may_be_bytes_or_its_text(self):
        done = write("signed-json", 1, keys=["schlüssel"])
        assert read(done, accept=["signed-json"], keys=["schlüssel".encode()]) == 1

    @pytest.mark.parametrize(
        "tamper",
        [
            lambda done, headers: (done.body + b" ", headers),
            lambda done, headers: (done.body, {**headers, "destination": "/queue/b"}),
            lambda done, headers: (done.body, {**headers, SIGNATURE: ""}),
            lambda done, headers: (done.body, {**headers, SIGNATURE: "é"}),
            lambda done, headers: (done.body, {name: headers[name] for name in headers if name != SIGNATURE}),
            lambda done, headers: (done.body, {name: headers[name] for name in headers if name != "destination"}),
        ],
        ids=["body", "destination", "no signature", "not ascii", "no header", "no destination"],
    )
    def test_what_was_tampered_with_is_not_read(self, tamper):
        done = write("signed-pickle", 1, keys=["key"])
        headers = {"destination": QUEUE, "content-type": done.content_type, **done.headers}
        body, headers = tamper(done, headers)
        with pytest.raises(SerializationError, match="no good signature"):
            deserialize(body, headers, accept=["signed-pickle"], keys=["key"])

    def test_a_signed_body_does_not_pass_under_another_content_type(self):
        body = pickle.dumps(1)
        as_json = write("signed-json", 1, keys=["key"])
        headers = {"destination": QUEUE, **as_json.headers}
        headers["content-type"] = get_serializer("signed-pickle").content_type
        with pytest.raises(SerializationError, match="no good signature"):
            deserialize(as_json.body, headers, accept=["signed-pickle"], keys=["key"])
        headers["content-type"] = "application/x-python-serialize"
        with pytest.raises(SerializationError, match="was not read"):
            deserialize(body, headers, accept=["signed-pickle"], keys=["key"])

    def test_parts_cannot_be_moved_between_destination_and_body(self):
        done = write("signed-json", "b", destination="/queue/a", keys=["key"])
        assert write("signed-json", "b", destination='/queue/a"b"', keys=["key"]).headers != done.headers

    def test_keys_can_be_rotated(self):
        old = write("signed-json", 1, keys=["old"])
        new = write("signed-json", 2, keys=["new", "old"])
        assert read(old, accept=["signed-json"], keys=["new", "old"]) == 1
        assert read(new, accept=["signed-json"], keys=["new"]) == 2
        with pytest.raises(SerializationError):
            read(old, accept=["signed-json"], keys=["new"])

    @pytest.mark.parametrize("name", ["signed-json", "signed-pickle"])
    def test_without_a_key_nothing_is_signed_or_read(self, name):
        with pytest.raises(ConfigurationError, match="signing_keys") as failure:
            write(name, 1)
        assert failure.value.option == "signing_keys"
        with pytest.raises(ConfigurationError):
            read(write(name, 1, keys=["key"]), accept=[name])

    def test_no_error_shows_a_key(self):
        done = write("signed-json", 1, keys=["s3cret"])
        with pytest.raises(SerializationError) as failure:
            read(dataclasses.replace(done, body=b"2"), accept=["signed-json"], keys=["s3cret", "s3cret2"])
        assert "s3cret" not in str(failure.value)

    def test_a_payload_that_cannot_be_written_names_the_signed_serializer(self):
        with pytest.raises(SerializationError) as failure:
            write("signed-json", {1, 2}, keys=["key"])
        assert failure.value.serializer == "signed-json"


class TestRegistering:
    @pytest.fixture(autouse=True)
    def _restore(self, monkeypatch):
        monkeypatch.setattr(module, "_serializers", dict(module._serializers))

    class Csv(Serializer):
        name = "csv"
        content_type = "text/csv"

        def dumps(self, payload):
            return ",".join(payload).encode()

        def loads(self, body):
            return body.decode().split(",")

    def test_another_serializer_can_be_used_by_its_name(self):
        register(self.Csv())
        done = write("csv", ["a", "b"])
        assert done == SerializedPayload(b"a,b", "text/csv", {})
        assert read(done, accept=["csv"]) == ["a", "b"]

    def test_its_errors_name_it(self):
        register(self.Csv())
        with pytest.raises(SerializationError, match="csv") as failure:
            write("csv", 5)
        assert failure.value.serializer == "csv"

    @pytest.mark.parametrize(("name", "content_type"), [("json", "application/x"), ("other", "application/json")])
    def test_a_name_or_content_type_that_is_taken_is_refused(self, name, content_type):
        taken = self.Csv()
        taken.name, taken.content_type = name, content_type
        with pytest.raises(ConfigurationError, match="registered already"):
            register(taken)
