"""JSON: the form of each type, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stomp_web import SerializationError
from stomp_web.serializers import deserialize, json_form
from tests.serializers.payloads import QUEUE, Color, Line, Order, read, write


def to_json(payload):
    return write("json", payload).body.decode()


class Size(enum.IntEnum):
    BIG = 3


class Name(str, enum.Enum):  # noqa: UP042 - str() of it is not its value, as with StrEnum
    ANN = "ann"


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
        assert to_json(cycle) == "[1]"

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
